# What programs that read echo-probe's JSON may rely on.
schemadir = $(datadir)/echod
dist_schema_DATA = doc/echo-probe.schema.json
