/* Finds and reads what core/config.c parses: file, drop-in, environment, credentials. */
#pragma once
#include "core/config.h"

/* `path`: -c; NULL: $MESHIFY_CONFIG, else /etc/meshify.ini, which need not be there. The drop-in of
 * `instance` (NULL: none) is meshify.d/INSTANCE.ini beside the file. Credentials are the files in
 * $CREDENTIALS_DIRECTORY. `needs`: CONFIG_FOR_…. Warns on stderr where everybody can read a secret.
 * What is secret in it is left out of all texts from then on (base/redact.h).
 * 0, -EINVAL with errors, -ENOMEM. */
int settings_load(const char *path, const char *instance, unsigned needs, Config **ret,
                  ConfigErrors *reterr);
