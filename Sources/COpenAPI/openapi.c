// The description of the API, as bytes of the program. `#embed` costs no compile time, unlike an array literal in Swift,
// which took a minute of every build for a file of this size.
#include "copenapi.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

const unsigned char co_openapi[] = {
#embed "openapi/openapi.yaml"
};
const long co_openapi_count = sizeof co_openapi;
