// Registers a device: register CONFIG UID TOKEN-FILE
package main

/*
#cgo pkg-config: cvm
#include <stdlib.h>
#include <cvm/cvm.h>

extern void goStarted(void *user_data, cvm_error_t *error);
extern void goRegistered(void *user_data, cvm_result_t *result);
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"runtime/cgo"
	"strings"
	"unsafe"
)

type program struct {
	cvm     *C.cvm_t
	request *C.cvm_request_t
	failure error
}

// take turns an error that a call returned into Go's.
func take(failure *C.cvm_error_t) error {
	defer C.cvm_error_free(failure)
	return read(failure)
}

func read(failure *C.cvm_error_t) error {
	if failure == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", C.GoString(C.cvm_error_name(failure)), C.GoString(C.cvm_error_text(failure)))
}

func (p *program) stop(failure error) {
	p.failure = failure
	_ = take(C.cvm_stop(p.cvm, nil, nil))
}

//export goStarted
func goStarted(userData unsafe.Pointer, failure *C.cvm_error_t) {
	p := (*(*cgo.Handle)(userData)).Value().(*program)
	refused := read(failure)
	if refused == nil {
		refused = take(C.cvm_register(p.cvm, p.request, C.cvm_result_cb(C.goRegistered), userData, nil))
	}
	if refused != nil {
		p.stop(refused)
	}
}

//export goRegistered
func goRegistered(userData unsafe.Pointer, result *C.cvm_result_t) {
	p := (*(*cgo.Handle)(userData)).Value().(*program)
	failure := read((*C.cvm_error_t)(unsafe.Pointer(C.cvm_result_error(result))))
	if failure == nil {
		fmt.Printf("%s connects to %s with\n%s", C.GoString(C.cvm_result_thing_name(result)),
			C.GoString(C.cvm_result_endpoint(result)), C.GoString(C.cvm_result_device_certificate(result)))
	}
	p.stop(failure)
}

func run(config, uid, tokenFile string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	texts := []*C.char{C.CString(config), C.CString(uid), C.CString(strings.TrimRight(string(token), "\r\n"))}
	for _, text := range texts {
		defer C.free(unsafe.Pointer(text))
	}
	conf := C.cvm_conf_new()
	defer C.cvm_conf_free(conf)
	p := &program{request: C.cvm_request_new()}
	defer C.cvm_request_free(p.request)
	handle := cgo.NewHandle(p)
	defer handle.Delete()
	userData := C.malloc(C.size_t(unsafe.Sizeof(handle))) // C keeps it: it must not be Go's memory
	defer C.free(userData)
	*(*cgo.Handle)(userData) = handle
	if err = take(C.cvm_conf_load(conf, texts[0])); err != nil {
		return err
	}
	if err = take(C.cvm_request_set_uid(p.request, texts[1])); err != nil {
		return err
	}
	if err = take(C.cvm_request_set_token(p.request, texts[2])); err != nil {
		return err
	}
	if err = take(C.cvm_new(conf, &p.cvm)); err != nil {
		return err
	}
	defer C.cvm_free(p.cvm)
	if err = take(C.cvm_start_command(p.cvm, C.cvm_done_cb(C.goStarted), userData)); err != nil {
		return err
	}
	if err = take(C.cvm_run(p.cvm)); err != nil {
		return err
	}
	return p.failure
}

func main() {
	runtime.LockOSThread() // an instance belongs to the thread that runs it
	if len(os.Args) != 4 || C.cvm_version_number() < C.CVM_VERSION_NUMBER {
		fmt.Fprintln(os.Stderr, "usage: register CONFIG UID TOKEN-FILE")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "register:", err)
		os.Exit(1)
	}
}
