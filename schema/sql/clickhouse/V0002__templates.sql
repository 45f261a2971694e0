-- The template of each body, `<*>` for each parameter: what `logs.pattern_id` and counts of patterns are made of. Empty in
-- rows of other writers, and in those of a devmesh that did not look for templates.
ALTER TABLE otel_logs ADD COLUMN IF NOT EXISTS DevmeshTemplate LowCardinality(String) DEFAULT '' CODEC(ZSTD(1));
