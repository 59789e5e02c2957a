-- The least level of events that a webhook is told of: INFO, WARN or CRITICAL. Those that there are wanted all.
ALTER TABLE webhooks ADD COLUMN level TEXT NOT NULL DEFAULT 'INFO';
