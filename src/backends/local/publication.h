/*
 * A publication: what brings crl.pem to what the store's heads say, and, if something is to be
 * said that no CRL says yet, makes new CRLs first. There is one at a time.
 *
 *   follow.c   reads the heads, gets what is newer than crl.pem, and writes that
 *   gather.c   scans the store, and signs what the CRLs are to list
 *   publish.c  decides, puts the new CRLs and their heads, and answers who waits
 *
 * Several servers publish at once without a lock: each reads the heads' version, and only then
 * scans; its heads are put on that version, so of two one is told of a conflict, and follows the
 * other before it tries again.
 */
#ifndef CVM_LOCAL_PUBLICATION_H
#define CVM_LOCAL_PUBLICATION_H

#include "crl_file.h"
#include "heads.h"
#include "platform.h"

#define LONGEST_REASON 240

struct publication {
    struct platform *platform;
    struct waiting *waiting; /* who is answered by it */
    int32_t is_check;        /* it looks at crl.pem although the heads are as they were */
    int32_t is_server;       /* and not a command */
    int32_t is_first;        /* of a server, or after a reload: properties may be others */
    int32_t must_write;      /* new CRLs, even if they list nothing new */
    uint32_t rounds;         /* how often it began again */

    /* follow.c */
    uint32_t misses; /* of parts that were not there */
    struct crl_heads heads;
    int64_t version; /* of the heads; 0: there are none */
    int32_t is_idle; /* they are as they were, and nobody wants anything */
    int32_t has_first;
    int64_t first_changes[MOST_ISSUERS]; /* of each issuer, when it began */
    struct crl_file file;                /* crl.pem, as it is */
    /* What is newer than that, of each of the platform's issuers. */
    struct crl *newer[MOST_ISSUERS];
    uint8_t is_lost[MOST_ISSUERS]; /* the store's can't be had */
    uint8_t *der;
    size_t der_length;
    uint32_t issuer; /* the one whose CRL is got, or put */
    int32_t must_write_chain;
    int32_t must_explain; /* crl.pem lists for good what the store's CRL does not */
    int32_t is_file_new;  /* another process has written crl.pem meanwhile */
    int32_t is_unread;    /* the heads can't be had */

    /* gather.c */
    cvm_scan_t scanning;
    int64_t scan_before_ms;
    int64_t now_ms; /* when the scans began, by this machine's clock, which was not in doubt: what
                       is signed goes by it */
    int64_t store_now_ms;                /* and by the store's */
    struct crl_list found[MOST_ISSUERS]; /* by the scans */
    struct crl_list ended[MOST_ISSUERS]; /* revoked, but their time is over */
    struct crl *made[MOST_ISSUERS];
    int32_t has_found, knows_ended, seeks_ended; /* the latter: the scan is for these */
    int32_t must_look_for_ended;
    uint32_t carried, spoiled; /* entries that no row has; rows that no CRL can list */
    char cursor[CVM_CURSOR_SIZE];
    uint32_t foreign_count;
    struct foreign foreign[MOST_FOREIGN];

    /* publish.c */
    int32_t is_said;      /* what is waited for is in a CRL */
    int32_t is_comparing; /* what was found with another server's CRL */
    int32_t is_pausing;
    cvm_answer_t answer;
    cvm_timer_t *pause;
    int64_t validity_ms;
    const char *command;
    char error[LONGEST_REASON];
};

/* The newest CRL of an issuer that is known; NULL: there is none. */
const struct crl *cvm_publication_newest(const struct publication *publication, uint32_t issuer);
/* Must this issuer's CRL be made anew, whatever it lists? */
int32_t cvm_publication_is_due(const struct publication *publication, uint32_t issuer);
/* Whether others' CRLs of an issuer say by now what this one is to say. */
int32_t cvm_publication_is_overtaken(const struct publication *publication, uint32_t issuer);
/* Reads the heads again, and goes on from there; not for ever. */
void cvm_publication_again(struct publication *publication);
/* Notes what went wrong; what follows is up to the caller. */
void cvm_publication_fail(struct publication *publication, const char *what, const char *why);
/* And ends it. */
void cvm_publication_give_up(struct publication *publication, const char *why);

/* Ends it, and answers who waits. */
void cvm_publication_finish(struct publication *publication);

/* Reads the heads, and goes on until crl.pem is as they say; ends the publication if it can't be,
 * or if they are as they were and nobody wants anything. */
void cvm_follow(struct publication *publication);
void cvm_publication_followed(struct publication *publication);
/* The heads are ours: what was found is said. */
void cvm_publication_said(struct publication *publication);

/* Scans, and signs. */
void cvm_gather(struct publication *publication);
/* Compares what was found before with a CRL that came meanwhile. */
void cvm_gather_again(struct publication *publication);
/* made has what is to be put; with none of them, all is said that was found. */
void cvm_publication_gathered(struct publication *publication);
void cvm_gather_forget(struct publication *publication);

#endif
