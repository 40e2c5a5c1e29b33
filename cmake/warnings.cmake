# Warnings, hardening and sanitizers, for every target of ours.
add_library(cvm_warnings INTERFACE)
target_compile_options(cvm_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  $<$<BOOL:${CVM_WERROR}>:-Werror>
  -fstack-protector-strong -fno-common)
if(NOT APPLE)
  target_link_options(cvm_warnings INTERFACE -Wl,-z,relro,-z,now)
endif()

if(CMAKE_BUILD_TYPE MATCHES "Rel" AND NOT CVM_SANITIZE)
  target_compile_definitions(cvm_warnings INTERFACE _FORTIFY_SOURCE=2)
endif()

# CVM_SANITIZE: address (with undefined), thread or fuzzer; fuzzer wants clang.
if(CVM_SANITIZE STREQUAL "address")
  set(CVM_SANITIZER_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(CVM_SANITIZE STREQUAL "thread")
  set(CVM_SANITIZER_FLAGS -fsanitize=thread)
elseif(CVM_SANITIZE STREQUAL "fuzzer")
  set(CVM_SANITIZER_FLAGS -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all)
endif()
if(CVM_SANITIZE)
  add_compile_options(${CVM_SANITIZER_FLAGS} -fno-omit-frame-pointer -g)
  add_link_options(${CVM_SANITIZER_FLAGS})
endif()
