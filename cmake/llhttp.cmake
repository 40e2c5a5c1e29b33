# llhttp, which parses HTTP. Debian 12 has no package of it: scripts/install puts its three C files,
# out of the pinned sdist of httptools, under third_party/llhttp (not committed).
find_path(LLHTTP_INCLUDE_DIR llhttp.h)
find_library(LLHTTP_LIBRARY llhttp)
set(LLHTTP_SOURCE_DIR "${CMAKE_SOURCE_DIR}/third_party/llhttp" CACHE PATH "llhttp's sources")

add_library(llhttp_objects INTERFACE)
if(LLHTTP_INCLUDE_DIR AND LLHTTP_LIBRARY)
  target_include_directories(llhttp_objects SYSTEM INTERFACE ${LLHTTP_INCLUDE_DIR})
  target_link_libraries(llhttp_objects INTERFACE ${LLHTTP_LIBRARY})
elseif(EXISTS "${LLHTTP_SOURCE_DIR}/src/llhttp.c")
  add_library(llhttp_built OBJECT
    ${LLHTTP_SOURCE_DIR}/src/api.c ${LLHTTP_SOURCE_DIR}/src/http.c ${LLHTTP_SOURCE_DIR}/src/llhttp.c)
  target_include_directories(llhttp_built PRIVATE ${LLHTTP_SOURCE_DIR}/include)
  target_compile_options(llhttp_built PRIVATE -O2 -w)
  set_target_properties(llhttp_built PROPERTIES C_VISIBILITY_PRESET hidden)
  target_include_directories(llhttp_objects SYSTEM INTERFACE ${LLHTTP_SOURCE_DIR}/include)
  set(LLHTTP_OBJECTS $<TARGET_OBJECTS:llhttp_built>)
else()
  message(FATAL_ERROR "llhttp is missing: run scripts/install, or install its development package")
endif()
