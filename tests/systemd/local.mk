# The folders of `make install`, for the tests in containers. Those of the units are empty if units are not installed.
check_DATA += tests/systemd/paths
tests/systemd/paths: Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	printf "%s='%s'\n" bindir '$(bindir)' plugindir '$(plugindir)' sbindir '$(sbindir)' sysconfdir '$(sysconfdir)' \
	    sysusersdir '$(sysusersdir)' systemdsystemunitdir '$(systemdsystemunitdir)' >$@

# Attempts to get out of the units and the sandbox.
check_PROGRAMS += tests/systemd/escapes
tests_systemd_escapes_SOURCES = tests/systemd/escapes.c
tests_systemd_escapes_LDADD   = src/libdaemon.a src/libcommon.a $(daemon_libs)

TESTS      += tests/systemd/exposure.sh
# They boot a systemd in a container.
boot_tests  = tests/systemd/functional_activated.sh tests/systemd/functional_own.sh tests/systemd/units.sh
more_tests += $(boot_tests)
dist_check_SCRIPTS += tests/systemd/exposure.sh $(boot_tests)
EXTRA_DIST += tests/systemd/boot tests/systemd/container.sh tests/systemd/crash tests/systemd/functional.sh tests/systemd/inside \
              tests/systemd/merge tests/systemd/restart
CLEANFILES += tests/systemd/paths
