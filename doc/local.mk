# What programs that read echo-probe's JSON may rely on.
schemadir = $(datadir)/echod
dist_schema_DATA = doc/echo-probe.schema.json

uninstall-hook: uninstall-schema
.PHONY: uninstall-schema
uninstall-schema:
	rmdir '$(DESTDIR)$(schemadir)' 2>/dev/null || :
