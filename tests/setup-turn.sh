#!/usr/bin/env bash
# Debian's coturn for the TURN tests, where this user may install packages; elsewhere those tests skip and say why.
set -u
command -v turnserver >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing coturn for the TURN tests ..."
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends coturn) >/dev/null 2>&1 \
    || echo "coturn could not be installed; the TURN tests will skip."
else
  echo "No coturn here and no right to install it; the TURN tests will skip."
fi
exit 0
