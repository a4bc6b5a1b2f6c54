-- Streams are read anew although one of them is more than the process can hold: it is set aside.

-- How often the reading was begun and not ended, by a process that said nothing more.
ALTER TABLE banyan.rebaselines ADD COLUMN attempts int NOT NULL DEFAULT 0;
