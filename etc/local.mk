EXTRA_DIST += etc/echod.conf

# An administrator's configuration is never overwritten: where one stands, the new one is put beside it.
install-data-hook: install-conf
uninstall-hook: uninstall-conf
.PHONY: install-conf uninstall-conf
install-conf:
	$(MKDIR_P) '$(DESTDIR)$(sysconfdir)'
	@if test -e '$(DESTDIR)$(sysconfdir)/echod.conf' && \
	    ! cmp -s '$(srcdir)/etc/echod.conf' '$(DESTDIR)$(sysconfdir)/echod.conf'; then \
	    echo "keeping $(DESTDIR)$(sysconfdir)/echod.conf; the new sample is echod.conf.new beside it"; \
	    $(INSTALL_DATA) '$(srcdir)/etc/echod.conf' '$(DESTDIR)$(sysconfdir)/echod.conf.new'; \
	else \
	    $(INSTALL_DATA) '$(srcdir)/etc/echod.conf' '$(DESTDIR)$(sysconfdir)/echod.conf'; \
	fi
uninstall-conf:
	rm -f '$(DESTDIR)$(sysconfdir)/echod.conf.new'
	@if cmp -s '$(srcdir)/etc/echod.conf' '$(DESTDIR)$(sysconfdir)/echod.conf'; then \
	    rm -f '$(DESTDIR)$(sysconfdir)/echod.conf'; \
	elif test -e '$(DESTDIR)$(sysconfdir)/echod.conf'; then \
	    echo "keeping $(DESTDIR)$(sysconfdir)/echod.conf, which was changed"; \
	fi
