/* The first connection with the new identity: MQTT over TLS, one message, acknowledged. */
#ifndef CVM_DEVICE_MQTT_H
#define CVM_DEVICE_MQTT_H

#include "credentials.h"
#include "retry.h"

#include <stdbool.h>
#include <time.h>

struct hello {
    const struct credentials *credentials;
    const char *topic;
    const char *message;
    time_t now;
    int timeout_s;
    struct retry retry;
    bool connected; /* result: the broker has accepted the credentials */
};

/* Connects, publishes, disconnects. 0 or an exit status, reported; `connected` may be set even so.
 */
int mqtt_hello(struct hello *hello);

/* True if a message can be published to the topic. */
bool mqtt_is_topic(const char *topic);

#endif
