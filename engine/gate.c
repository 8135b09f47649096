#include "gate.h"

#include "base/check.h"

void gate_init(struct gate *gate)
{
    *gate = (struct gate){.arrived = 0};
    CHECK(pthread_mutex_init(&gate->mutex, NULL) == 0);
    CHECK(pthread_cond_init(&gate->changed, NULL) == 0);
}

bool gate_pass(struct gate *gate, int result, const struct base_error *error)
{
    pthread_mutex_lock(&gate->mutex);
    gate->arrived++;
    if (result < 0 && !gate->failed) {
        gate->failed = true;
        gate->error = *error;
    }
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open && !gate->failed)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    bool serve = !gate->failed;
    pthread_mutex_unlock(&gate->mutex);
    return serve;
}

int gate_open(struct gate *gate, unsigned count, int result, struct base_error *error)
{
    pthread_mutex_lock(&gate->mutex);
    if (result < 0)
        gate->failed = true;
    while (gate->arrived < count && !gate->failed)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    gate->open = !gate->failed;
    if (gate->failed && result == 0) {
        *error = gate->error;
        result = error->code;
    }
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
    return result;
}
