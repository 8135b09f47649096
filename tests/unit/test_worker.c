/* The worker's loop with real files and a ring of its own, in the test's thread: what it answers
 * when, and what it looks at before it sleeps.
 *
 * There is no ingress: requests are put into the queue, and the linker (meson.build) sends what the
 * worker calls at the interesting moments through the wrappers below: uring_message gets the
 * answered requests, uring_wait is told of every sleep, queue_mpmc_depth of the look at a sibling's
 * queue just before, and segment_ring_io_result may make an operation of the journal fail. */
#include "worker.h"

#include "segment/prepare.h"
#include "test_files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define CORES         2 /* so that there is a sibling's queue to look at */
#define QUEUE_SLOTS   16
#define REQUESTS_MAX  16
#define SEGMENT_BYTES 131072

static const char submission[] = "{\"patientId\":\"1\",\"timestamp\":1,\"scores\":{}}";

static struct config config;
static struct budget budget;
static struct state state;
static struct queue_mpmc queues[CORES];
static ck_ring_buffer_t slots[CORES][QUEUE_SLOTS];
static struct queue_doorbell doorbells[CORES];
static int ring_fds[CORES];
static struct ingress_requests requests;
static struct segment_catalog catalog;
static struct segment_watermark watermark;
static struct segment_handoff handoff;
static struct segment_recovery recovery;
static struct worker worker;
static int journal_fd;
static char directory[TEST_PATH_BYTES];
static struct base_error error;

/* What the wrappers do and saw. */
static struct ingress_request *arrives_last; /* pushed when the worker has found nothing */
static int failure;                          /* of the journal's next operation; 0: none */
static unsigned pushed, answered, receipts;
static enum base_problem_kind last_problem;

static void push(struct ingress_request *request)
{
    cr_assert(queue_mpmc_push(&queues[0], request));
    pushed++;
}

unsigned __real_queue_mpmc_depth(const struct queue_mpmc *queue);
unsigned __wrap_queue_mpmc_depth(const struct queue_mpmc *queue);
unsigned __wrap_queue_mpmc_depth(const struct queue_mpmc *queue)
{
    if (queue == &queues[1] && arrives_last != NULL) {
        push(arrives_last);
        arrives_last = NULL;
        cr_assert_not(queue_doorbell_must_ring(&doorbells[0]), "it is awake: nobody will ring");
    }
    return __real_queue_mpmc_depth(queue);
}

/* Ends the test when everything is answered; the worker must not sleep over a request. */
void __real_uring_wait(struct io_uring *ring, uint64_t timeout_ns);
void __wrap_uring_wait(struct io_uring *ring, uint64_t timeout_ns);
void __wrap_uring_wait(struct io_uring *ring, uint64_t timeout_ns)
{
    if (load_relaxed(&doorbells[0].state) != QUEUE_DOORBELL_ASLEEP) {
        __real_uring_wait(ring, timeout_ns);
        return;
    }
    cr_assert_eq(__real_queue_mpmc_depth(&queues[0]), 0,
                 "the worker sleeps with a request in its queue");
    cr_assert_eq(answered, pushed, "the worker sleeps before everything is answered");
    worker.stopping = true;
}

void __wrap_uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                          uint64_t user_data_failed);
void __wrap_uring_message(struct io_uring *ring, int target_fd, uint64_t user_data,
                          uint64_t user_data_failed)
{
    (void)ring, (void)target_fd, (void)user_data_failed;
    cr_assert_eq(uring_what_of(user_data), URING_CHAIN);
    struct ingress_request *request = (struct ingress_request *)(uintptr_t)user_data;
    for (; request != NULL; request = request->next) {
        answered++;
        if (request->answer != INGRESS_ANSWER_RECEIPT) {
            last_problem = request->problem.kind;
            continue;
        }
        receipts++;
        cr_assert_eq(request->sequence, receipts);
        cr_assert_leq(request->sequence, segment_watermark_read(&watermark, 0),
                      "a receipt for what is not durable");
    }
}

int __wrap_segment_ring_io_result(struct segment_ring_io *ring_io,
                                  const struct io_uring_cqe *completion);
int __wrap_segment_ring_io_result(struct segment_ring_io *ring_io,
                                  const struct io_uring_cqe *completion)
{
    (void)ring_io;
    int result = failure != 0 ? failure : completion->res;
    failure = 0;
    return result;
}

static struct ingress_request *request(void)
{
    struct ingress_request *taken = ingress_request_take(&requests);
    size_t bytes = sizeof(submission) - 1;
    cr_assert_not_null(taken);
    cr_assert(ingress_request_reserve_body(&requests, taken, bytes, config.body_bytes_max));
    memcpy(taken->body, submission, bytes);
    taken->body_bytes = (uint32_t)bytes;
    taken->received_at_ns = 1;
    taken->state = INGRESS_REQUEST_LENT;
    return taken;
}

static void supply_segment(void)
{
    struct segment_preparation preparation;
    segment_prepare_init(&preparation);
    int result =
        segment_prepare_begin(&preparation, &catalog, journal_fd, 0, 1, SEGMENT_BYTES, &error);
    while (result == 0)
        result = segment_prepare_step(&preparation, &catalog, &handoff.prepared_storage, &error);
    cr_assert_eq(result, 1, "%s", error.text);
    store_release(&handoff.prepared, &handoff.prepared_storage);
}

static void open_data(void)
{
    test_directory_make(directory);
    cr_assert_eq(segment_catalog_open(&catalog, directory, &error), 0, "%s", error.text);
    cr_assert_eq(segment_watermark_open(&watermark, &catalog, &error), 0, "%s", error.text);
    journal_fd = segment_catalog_journal(&catalog, 0, true, &error);
    cr_assert_eq(
        segment_recover(&catalog, journal_fd, 0, &watermark, SEGMENT_BYTES, &recovery, &error), 0,
        "%s", error.text);
}

static void set_up(void)
{
    config_init(&config);
    config.requests_max = REQUESTS_MAX;
    config.large_arenas_max = 1;
    config.body_bytes_max = 4096;
    config.batch_bytes_max = 65536;
    config.segment_bytes = SEGMENT_BYTES;
    config.registered_buffers = 0;
    config.mark_idle_ms = 60000;
    budget_init(&budget);
    state = (struct state){.config = &config,
                           .core_count = CORES,
                           .queues = queues,
                           .doorbells = doorbells,
                           .ingress_ring_fds = ring_fds,
                           .control_fd = -1};
    static struct reload_reader reload_readers[CORES];
    state.reload_readers = reload_readers;
    reload_init(&state.reload, reload_readers, CORES);
    for (int i = 0; i < CORES; i++)
        queue_mpmc_init(&queues[i], slots[i], QUEUE_SLOTS);
    open_data();
    cr_assert_eq(ingress_requests_reserve(&requests, &config, 0, &budget, &error), 0);
    cr_assert_eq(worker_init(&worker, 0, (unsigned)sched_getcpu(), &state, &catalog, &recovery,
                             &watermark, &handoff, &budget, &error),
                 0, "%s", error.text);
    cr_assert_eq(worker_open(&worker, &error), 0, "%s", error.text);
}

static void tear_down(void)
{
    worker_close(&worker);
    worker_fini(&worker);
    segment_recovery_fini(&recovery);
    close(journal_fd);
    segment_watermark_close(&watermark);
    segment_catalog_close(&catalog);
    test_directory_remove(directory);
}

TestSuite(worker, .init = set_up, .fini = tear_down, .timeout = 60);

Test(worker, answers_what_was_queued_after_it_is_durable)
{
    supply_segment();
    for (int i = 0; i < 5; i++)
        push(request());
    worker_run(&worker);
    cr_assert_eq(answered, 5);
    cr_assert_eq(receipts, 5);
}

Test(worker, sees_what_arrives_between_its_last_look_and_its_sleep)
{
    supply_segment();
    arrives_last = request();
    worker_run(&worker);
    cr_assert_eq(receipts, 1);
}

Test(worker, told_to_stop_it_answers_first_what_is_in_its_queue)
{
    supply_segment();
    for (int i = 0; i < 5; i++)
        push(request());
    worker.stopping = true;
    worker_run(&worker);
    cr_assert_eq(receipts, 5);
}

Test(worker, refuses_what_no_segment_has_room_for)
{
    store_release(&handoff.shortage, ENOSPC);
    push(request());
    push(request());
    worker_run(&worker);
    cr_assert_eq(answered, 2);
    cr_assert_eq(receipts, 0);
    cr_assert_eq(last_problem, BASE_PROBLEM_DISK_FULL);
    cr_assert_neq(worker.journal.state, SEGMENT_JOURNAL_FAILED);
}

Test(worker, goes_on_when_there_is_room_again)
{
    store_release(&handoff.shortage, ENOSPC);
    push(request());
    worker_run(&worker);
    supply_segment();
    store_release(&handoff.shortage, 0);
    worker.stopping = false;
    push(request());
    worker_run(&worker);
    cr_assert_eq(answered, 2);
    cr_assert_eq(receipts, 1);
}

Test(worker, refuses_what_was_being_written_when_the_journal_failed_and_all_behind_it)
{
    supply_segment();
    failure = -EIO;
    push(request());
    worker_run(&worker);
    worker.stopping = false;
    push(request());
    worker_run(&worker);
    cr_assert_eq(answered, 2);
    cr_assert_eq(receipts, 0);
    cr_assert_eq(last_problem, BASE_PROBLEM_JOURNAL_FAILED);
    cr_assert_eq(load_relaxed(&state.journals_failed), 1);
}

Test(worker, takes_nothing_more_when_a_segment_of_its_journal_could_not_be_sealed)
{
    supply_segment();
    push(request());
    worker_run(&worker);
    store_release(&handoff.failure, EIO); /* by the control thread */
    worker.stopping = false;
    push(request());
    worker_run(&worker);
    cr_assert_eq(answered, 2);
    cr_assert_eq(receipts, 1);
    cr_assert_eq(last_problem, BASE_PROBLEM_JOURNAL_FAILED);
}

Test(worker, takes_from_a_sibling_that_has_much_to_do)
{
    config.steal_depth_min = 2;
    supply_segment();
    for (int i = 0; i < 3; i++)
        cr_assert(queue_mpmc_push(&queues[1], request()));
    pushed = 3;
    worker_run(&worker);
    cr_assert_eq(receipts, 3);
}
