import type { FastifyInstance } from "fastify";
import { done, ID, object, text, type Asked, type IdParams } from "./order-routes.ts";

export interface NewCustomer {
  readonly email: string;
  readonly fullName: string;
  readonly city: string;
}

/** What can be done with customers, whichever application does it. No two of them have the same e-mail. */
export interface CustomerDesk<Who> {
  registerCustomer(customer: NewCustomer, who: Who): Promise<string>;
  moveCustomer(id: string, city: string, who: Who): Promise<void>;
}

/** Customers over HTTP: the same requests and answers, whichever application keeps them. */
export function addCustomerRoutes<Who>(
  app: FastifyInstance,
  desk: CustomerDesk<Who>,
  who: (request: Asked) => Who,
): void {
  app.post<{ Body: NewCustomer }>(
    "/customers",
    { schema: { body: object({ email: text, fullName: text, city: text }) } },
    async (request) => ({ id: await desk.registerCustomer(request.body, who(request)) }),
  );
  app.put<IdParams & { Body: { city: string } }>(
    "/customers/:id/city",
    { schema: { params: ID, body: object({ city: text }) } },
    async (request) =>
      done(await desk.moveCustomer(request.params.id, request.body.city, who(request))),
  );
}
