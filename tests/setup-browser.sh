#!/usr/bin/env bash
# Debian's Chromium for the browser tests, where this user may install packages; elsewhere those tests skip and say why.
set -u
for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null 2>&1 && exit 0; done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Chromium for the browser tests ..."
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core) >/dev/null 2>&1 \
    || echo "Chromium could not be installed; the browser tests will skip."
else
  echo "No Chromium here and no right to install it; the browser tests will skip."
fi
exit 0
