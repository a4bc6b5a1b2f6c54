-- Many streams can be asked for at once, and of each is looked whether it is asked for already.
CREATE INDEX rebaselines_streams ON banyan.rebaselines (pipeline_id, stream_id) WHERE done_at IS NULL;
