# The two services differ in a few lines; what they share is in common.in.
services = systemd/echod.service systemd/echod-activated.service

systemd/echod.service: systemd/echod.service.in
systemd/echod-activated.service: systemd/echod-activated.service.in
if EXPORTER
exporter_services = systemd/echo-exporter.service
systemd/echo-exporter.service: systemd/echo-exporter.service.in
endif
$(services) $(exporter_services): systemd/common.in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(SED) -e '/^@common@$$/{r $(srcdir)/systemd/common.in' -e 'd;}' $(srcdir)/$@.in | \
	    $(SED) -e 's|@sbindir[@]|$(sbindir)|g' >$@.tmp && mv $@.tmp $@

if UNITS
systemdsystemunit_DATA = $(services) systemd/echod.socket $(exporter_services)
if EXPORTER
systemdsystemunit_DATA += systemd/echo-exporter.socket
endif
endif
if SYSUSERS
sysusers_DATA = systemd/sysusers.d/echod.conf
endif
EXTRA_DIST += systemd/common.in systemd/echod.service.in systemd/echod-activated.service.in \
              systemd/echod.socket systemd/sysusers.d/echod.conf \
              systemd/echo-exporter.service.in systemd/echo-exporter.socket
CLEANFILES += $(services) $(exporter_services)
