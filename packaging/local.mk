EXTRA_DIST += packaging/echod.spec packaging/oci \
    debian/changelog debian/control debian/copyright debian/echo-exporter.install debian/echo-probe.install debian/echod.install debian/echod.prerm \
    debian/monitoring-plugins-echo.install debian/rules debian/source/format debian/tests/control debian/tests/echo
