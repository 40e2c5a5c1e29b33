/* The version, in one place; CMakeLists.txt reads it here. */
#ifndef CVM_CORE_VERSION_H
#define CVM_CORE_VERSION_H

#define CVM_VERSION "0.1.0"

#endif
