// openapi/openapi.yaml as it stands in the repository.
#pragma once

extern const unsigned char co_openapi[];
extern const long co_openapi_count;

static inline const unsigned char *co_openapi_bytes(void) { return co_openapi; }
