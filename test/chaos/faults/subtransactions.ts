import { did, didNot, type Fault } from "../fault.ts";
import { between } from "../random.ts";
import { inSession, persist } from "../session.ts";

/**
 * Many subtransactions, nested at times, of which many are rolled back: more than the server keeps in
 * shared memory for a session (64), so that it must look them up.
 */
export const subtransactions: Fault = {
  name: "subtransactions rolled back",
  needs: [],
  isEarly: true,
  async run({ source }, random, signal) {
    const many = between(random, 10, 150);
    const statements: string[] = ["BEGIN"];
    let rolledBack = 0;
    for (let i = 0; i < many; i++) {
      statements.push(`SAVEPOINT s${i}`, write(i));
      if (random() < 0.3) statements.push(`SAVEPOINT inner${i}`, write(i), `RELEASE inner${i}`);
      if (random() < 0.5) {
        statements.push(`ROLLBACK TO s${i}`);
        rolledBack += 1;
      }
      if (random() < 0.7) statements.push(`RELEASE s${i}`);
    }
    const ends = random() < 0.9 ? "COMMIT" : "ROLLBACK";
    const done = await persist(signal, () =>
      inSession(source.url, (client) => client.query([...statements, ends].join(";\n"))),
    );
    if (done === undefined)
      return didNot(`${rolledBack} of ${many}, which did not come to its end`);
    return did(`${rolledBack} of ${many}, ${ends}`);
  },
};

function write(i: number): string {
  switch (i % 3) {
    case 0:
      return `INSERT INTO orders (customer_id, note) VALUES (1, 'attempt ${i}')`;
    case 1:
      return `UPDATE orders SET note = 'attempt ${i} ' || id WHERE id = (SELECT max(id) FROM orders WHERE note LIKE 'attempt%')`;
    default:
      return `DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE note LIKE 'attempt%')`;
  }
}
