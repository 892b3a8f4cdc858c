# The JSON that echo-probe prints.
schemadir = $(datadir)/echod
dist_schema_DATA = doc/echo-probe.schema.json
EXTRA_DIST += doc/comparison.md doc/platforms.md

uninstall-hook: uninstall-schema
.PHONY: uninstall-schema
uninstall-schema:
	rmdir '$(DESTDIR)$(schemadir)' 2>/dev/null || :
EXTRA_DIST += doc/deploy.md
