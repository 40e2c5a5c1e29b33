/* One HTTP/1.1 answer as it comes in: enough to know where it ends and whether it is good. */
#ifndef CVM_BENCH_ANSWER_H
#define CVM_BENCH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define ANSWER_MAX 65536

struct answer {
    int status;
    bool closes; /* the server will close the connection after it */
    bool chunked;
    size_t head_length; /* 0 until the head is whole */
    size_t body_length; /* as Content-Length says */
    size_t length;      /* of what has come */
    char data[ANSWER_MAX + 1];
};

enum answer_state { ANSWER_INCOMPLETE, ANSWER_COMPLETE, ANSWER_BAD };

void answer_reset(struct answer *answer);

/* Call when bytes were added to data and length. */
enum answer_state answer_check(struct answer *answer);

/* Whether the body says "status": "SUCCESS". */
bool answer_is_success(const struct answer *answer);

#endif
