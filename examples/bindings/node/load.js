// How the library is loaded into Node, which exports an OpenSSL and a libuv of its own: with RTLD_DEEPBIND it finds those
// that it was linked with. A foreign function interface (koffi, ffi-napi) then finds it loaded. load.js LIBRARY [plain]
const { RTLD_NOW, RTLD_GLOBAL, RTLD_DEEPBIND } = require("os").constants.dlopen;

function load(library, flags) {
  try {
    process.dlopen({ exports: {} }, library, flags);
  } catch (error) {
    // It is no module of Node's, which is said when it is loaded already.
    if (!/self-register/.test(error.message)) throw error;
  }
}

const [library, plain] = process.argv.slice(2);
load(library, RTLD_NOW | RTLD_GLOBAL | (plain ? 0 : RTLD_DEEPBIND));
console.log(`loaded ${library}`);
