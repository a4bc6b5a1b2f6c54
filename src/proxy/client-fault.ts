/** The client went away, or sent what cannot be sent on: nothing that an upstream is to blame for. */
export class ClientFault extends Error {
  constructor(message = "the client went away") {
    super(message);
  }
}
