EXTRA_DIST += etc/echod.conf etc/echo-exporter.conf
configurations = echod.conf
rulesdir = $(datadir)/echod/prometheus
dashboarddir = $(datadir)/echod/grafana
if EXPORTER
configurations += echo-exporter.conf
rules_DATA = etc/prometheus/echod.rules.yml
dashboard_DATA = etc/grafana/echod.json
endif
EXTRA_DIST += etc/prometheus/echod.rules.yml etc/grafana/echod.json

# An administrator's configuration is never overwritten: where one stands, the new one is put beside it.
install-data-hook: install-conf
uninstall-hook: uninstall-conf uninstall-rules
.PHONY: install-conf uninstall-conf uninstall-rules
install-conf:
	$(MKDIR_P) '$(DESTDIR)$(sysconfdir)'
	@for name in $(configurations); do \
	    new='$(srcdir)/etc/'$$name installed='$(DESTDIR)$(sysconfdir)/'$$name; \
	    if test -e "$$installed" && ! cmp -s "$$new" "$$installed"; then \
	        echo "keeping $$installed; the new sample is $$name.new beside it"; \
	        installed=$$installed.new; \
	    fi; \
	    $(INSTALL_DATA) "$$new" "$$installed" || exit; \
	done
uninstall-conf:
	@for name in $(configurations); do \
	    installed='$(DESTDIR)$(sysconfdir)/'$$name; \
	    rm -f "$$installed.new"; \
	    if cmp -s '$(srcdir)/etc/'$$name "$$installed"; then \
	        rm -f "$$installed"; \
	    elif test -e "$$installed"; then \
	        echo "keeping $$installed, which was changed"; \
	    fi; \
	done
uninstall-rules:
	rmdir '$(DESTDIR)$(rulesdir)' '$(DESTDIR)$(dashboarddir)' '$(DESTDIR)$(datadir)/echod' 2>/dev/null || :
