//! Registers a device: register CONFIG UID TOKEN-FILE

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::{null_mut, NonNull};

#[repr(C)]
pub struct Opaque {
    _private: [u8; 0],
}
type Done = extern "C" fn(*mut c_void, *const Opaque);

#[link(name = "cvm")]
extern "C" {
    fn cvm_version_number() -> i32;
    fn cvm_conf_new() -> *mut Opaque;
    fn cvm_conf_free(conf: *mut Opaque);
    fn cvm_conf_load(conf: *mut Opaque, path: *const c_char) -> *mut Opaque;
    fn cvm_request_new() -> *mut Opaque;
    fn cvm_request_free(request: *mut Opaque);
    fn cvm_request_set_uid(request: *mut Opaque, uid: *const c_char) -> *mut Opaque;
    fn cvm_request_set_token(request: *mut Opaque, token: *const c_char) -> *mut Opaque;
    fn cvm_new(conf: *const Opaque, cvm: *mut *mut Opaque) -> *mut Opaque;
    fn cvm_start_command(cvm: *mut Opaque, callback: Done, user_data: *mut c_void) -> *mut Opaque;
    fn cvm_register(cvm: *mut Opaque, request: *const Opaque, callback: Done, user_data: *mut c_void,
                    id: *mut u64) -> *mut Opaque;
    fn cvm_run(cvm: *mut Opaque) -> *mut Opaque;
    fn cvm_stop(cvm: *mut Opaque, callback: Option<Done>, user_data: *mut c_void) -> *mut Opaque;
    fn cvm_free(cvm: *mut Opaque);
    fn cvm_error_name(error: *const Opaque) -> *const c_char;
    fn cvm_error_text(error: *const Opaque) -> *const c_char;
    fn cvm_error_free(error: *mut Opaque);
    fn cvm_result_error(result: *const Opaque) -> *const Opaque;
    fn cvm_result_thing_name(result: *const Opaque) -> *const c_char;
    fn cvm_result_endpoint(result: *const Opaque) -> *const c_char;
    fn cvm_result_device_certificate(result: *const Opaque) -> *const c_char;
}

const OLDEST: i32 = 1000; // 0.1.0

unsafe fn text(chars: *const c_char) -> String {
    CStr::from_ptr(chars).to_string_lossy().into_owned()
}

unsafe fn read(error: *const Opaque) -> Result<(), String> {
    match NonNull::new(error as *mut Opaque) {
        None => Ok(()),
        Some(_) => Err(format!("{}: {}", text(cvm_error_name(error)), text(cvm_error_text(error)))),
    }
}

/// An error that a call returned is ours to free.
unsafe fn take(error: *mut Opaque) -> Result<(), String> {
    let taken = read(error);
    cvm_error_free(error);
    taken
}

struct Program {
    cvm: *mut Opaque,
    request: *mut Opaque,
    outcome: Result<(), String>,
}

impl Program {
    unsafe fn stop(&mut self, outcome: Result<(), String>) {
        self.outcome = outcome;
        let _ = take(cvm_stop(self.cvm, None, null_mut()));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        unsafe {
            cvm_free(self.cvm);
            cvm_request_free(self.request);
        }
    }
}

extern "C" fn registered(user_data: *mut c_void, result: *const Opaque) {
    unsafe {
        let outcome = read(cvm_result_error(result));
        if outcome.is_ok() {
            print!("{} connects to {} with\n{}", text(cvm_result_thing_name(result)),
                   text(cvm_result_endpoint(result)), text(cvm_result_device_certificate(result)));
        }
        (*(user_data as *mut Program)).stop(outcome);
    }
}

extern "C" fn started(user_data: *mut c_void, error: *const Opaque) {
    unsafe {
        let program = &mut *(user_data as *mut Program);
        let accepted = read(error)
            .and_then(|()| take(cvm_register(program.cvm, program.request, registered, user_data, null_mut())));
        if accepted.is_err() {
            program.stop(accepted);
        }
    }
}

fn run(config: &str, uid: &str, token_file: &str) -> Result<(), String> {
    let token = std::fs::read_to_string(token_file).map_err(|error| format!("{token_file}: {error}"))?;
    let owned = |text: &str| CString::new(text).map_err(|error| error.to_string());
    let (config, uid, token) = (owned(config)?, owned(uid)?, owned(token.trim_end_matches(['\r', '\n']))?);
    unsafe {
        let mut program = Program { cvm: null_mut(), request: cvm_request_new(), outcome: Ok(()) };
        let conf = cvm_conf_new();
        let made = take(cvm_conf_load(conf, config.as_ptr()))
            .and_then(|()| take(cvm_request_set_uid(program.request, uid.as_ptr())))
            .and_then(|()| take(cvm_request_set_token(program.request, token.as_ptr())))
            .and_then(|()| take(cvm_new(conf, &mut program.cvm)));
        cvm_conf_free(conf);
        made?;
        take(cvm_start_command(program.cvm, started, &mut program as *mut Program as *mut c_void))?;
        take(cvm_run(program.cvm))?;
        program.outcome.clone()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 4 || unsafe { cvm_version_number() } < OLDEST {
        eprintln!("usage: register CONFIG UID TOKEN-FILE");
        std::process::exit(64);
    }
    if let Err(error) = run(&arguments[1], &arguments[2], &arguments[3]) {
        eprintln!("register: {error}");
        std::process::exit(1);
    }
}
