/** Ways to get the handover wrong, each of which the model must find. */
export const FAULTS = {
  "drop rule left out": "what a chunk's snapshot saw is told again by the stream",
  "checkpoint before append": "the checkpoint is one store transaction, the events are the next",
  "slot before publication": "the log is retained before there is a publication to tell it",
  "drop by log position": "what lies before the chunk's place in the log counts as seen by it",
  "acknowledge before append": "the source is told of a batch before it is durable",
  "chunk progress before events":
    "a chunk's progress is one store transaction, its events the next",
  "chunk events before progress":
    "a chunk's events are one store transaction, its progress the next",
  "stream not held back": "a change of a chunk that is being read is told without waiting for it",
  "end of chunk not awaited": "while the end of a chunk is not known, its keys count as unread",
  "left out before visible":
    "a change of an unread key is left out although a snapshot may not see it yet",
  "no wait at the start":
    "what lies before the slot in the log may not be visible to the first chunk",
  "former root ignored": "a child that moves is judged by its new root alone",
  "image overwritten": "a chunk writes its image over the one that the stream keeps",
  "image of what is held not kept": "the stream keeps no image of a row that a baseline holds",
  "chunk forgotten too early":
    "a chunk counts as passed although what was read behind its fence is not written",
  "judged anew when written":
    "a chunk that was asked for since a change was let in makes that change wait again",
  "fence before snapshot":
    "the end of the log is asked for before the snapshot is taken, which may see what lies behind",
  "kept before flushed": "what a snapshot saw is durable although the source may yet take it back",
  "chunk outlives the source":
    "a chunk that was read before the source crashed is kept after it, when all is flushed again",
  "read anew before seen":
    "an aggregate is read anew although the snapshot may not see what was told of it",
  "read anew too early": "an aggregate is read anew while the baseline of its type goes on",
  "no wait for what began before":
    "of what began before a table joined, the log does not tell, and the first chunk may not see it",
} as const;

export type Fault = keyof typeof FAULTS;
