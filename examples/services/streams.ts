import { becomes, changes, inserted, stream, table, updated } from "banyan";

/** Tickets of a help desk, as the `streams` of its banyan.config.ts have them. */
const tickets = table<{
  id: string;
  subject: string;
  status: "open" | "solved";
  assignee: string | null;
}>("tickets");

export const streams = {
  ticket: stream(tickets, {
    events: {
      TicketOpened: inserted(tickets),
      TicketAssigned: updated(tickets, { assignee: changes() }),
      TicketSolved: updated(tickets, { status: becomes("solved") }),
    },
    otherwise: "TicketAmended",
  }),
};
