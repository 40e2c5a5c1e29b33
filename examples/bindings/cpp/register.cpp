// Registers a device: register CONFIG UID TOKEN-FILE
#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include <cvm/cvm.h>

namespace {

template <auto free_function>
struct Free {
    template <class T>
    void operator()(T *object) const { free_function(object); }
};

using Conf = std::unique_ptr<cvm_conf_t, Free<cvm_conf_free>>;
using Instance = std::unique_ptr<cvm_t, Free<cvm_free>>;
using Request = std::unique_ptr<cvm_request_t, Free<cvm_request_free>>;

// An error that a call returned becomes an exception.
void check(cvm_error_t *error)
{
    std::unique_ptr<cvm_error_t, Free<cvm_error_free>> owned(error);
    if (owned)
        throw std::runtime_error(std::string(cvm_error_name(error)) + ": " + cvm_error_text(error));
}

struct Program {
    Instance cvm;
    Request request;
    std::string failure; // no exception may leave a callback

    void stop(const cvm_error_t *error)
    {
        if (error)
            failure = std::string(cvm_error_name(error)) + ": " + cvm_error_text(error);
        cvm_error_free(cvm_stop(cvm.get(), nullptr, nullptr));
    }
};

void registered(void *user_data, const cvm_result_t *result)
{
    auto *program = static_cast<Program *>(user_data);
    if (!cvm_result_error(result))
        std::printf("%s connects to %s with\n%s", cvm_result_thing_name(result),
            cvm_result_endpoint(result), cvm_result_device_certificate(result));
    program->stop(cvm_result_error(result));
}

void started(void *user_data, const cvm_error_t *error)
{
    auto *program = static_cast<Program *>(user_data);
    cvm_error_t *refused = nullptr;
    if (!error)
        refused = cvm_register(
            program->cvm.get(), program->request.get(), registered, program, nullptr);
    if (error || refused)
        program->stop(error ? error : refused);
    cvm_error_free(refused);
}

void run(const char *config, const char *uid, const char *token_file)
{
    std::string token;
    if (!std::getline(std::ifstream(token_file), token))
        throw std::runtime_error(std::string(token_file) + ": can't be read");
    Program program;
    Conf conf(cvm_conf_new());
    program.request.reset(cvm_request_new());
    check(cvm_conf_load(conf.get(), config));
    check(cvm_request_set_uid(program.request.get(), uid));
    check(cvm_request_set_token(program.request.get(), token.c_str()));
    cvm_t *cvm = nullptr;
    check(cvm_new(conf.get(), &cvm));
    program.cvm.reset(cvm);
    check(cvm_start_command(cvm, started, &program));
    check(cvm_run(cvm));
    if (!program.failure.empty())
        throw std::runtime_error(program.failure);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4 || cvm_version_number() < CVM_VERSION_NUMBER) {
        std::fprintf(stderr, "usage: register CONFIG UID TOKEN-FILE\n");
        return 64;
    }
    try {
        run(argv[1], argv[2], argv[3]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "register: %s\n", error.what());
        return 1;
    }
    return 0;
}
