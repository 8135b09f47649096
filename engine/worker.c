/* While a batch is being written the worker sleeps in its ring and does not want the doorbell: what
 * arrives meanwhile is taken as one run when the flush is done. Waking for each request would parse
 * it a little earlier and cost a wake; the prototype lost more CPU to wakes than to parsing. */
#include "worker.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sanitizer.h"
#include "ingress/authorize.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The journal has one operation under way; the rest are messages, one per ingress and round, and
 * doorbells from ingresses and the control thread. */
#define SQ_ENTRIES 1024
#define CQ_ENTRIES 4096

/* --- set up and down ------------------------------------------------------------------------ */

int worker_init(struct worker *worker, unsigned index, unsigned core, struct state *state,
                const struct segment_catalog *catalog, const struct segment_recovery *recovery,
                struct segment_watermark *watermark, struct segment_handoff *handoff,
                struct budget *budget, struct base_error *error)
{
    const struct config *config = state->config;
    *worker = (struct worker){
        .magic = WORKER_MAGIC,
        .index = index,
        .core = core,
        .state = state,
        .config = config,
        .handoff = handoff,
    };
    size_t bytes = segment_journal_bytes(config->batch_bytes_max, recovery->segment_bytes_max);
    worker->journal_memory_bytes = bytes;
    worker->journal_memory =
        budget_reserve(budget, "journals", 1, bytes,
                       "per worker: two batches, a header block, two batch indexes", error);
    worker->completed =
        budget_reserve(budget, "completed chains", state->core_count, sizeof(struct worker_chain),
                       "per worker, one per ingress", error);
    if (worker->journal_memory == NULL || worker->completed == NULL)
        return error->code;
    worker->parser = record_json_parser_create(config->body_bytes_max);
    if (worker->parser == NULL)
        return base_error_set(error, -ENOMEM, "cannot reserve memory for a JSON parser");
    budget_note(budget, "JSON parsers", 1, record_json_parser_bytes(config->body_bytes_max),
                "per worker: nodes, member table and strings of the largest body");
    base_random_init(&worker->random);
    segment_ring_io_init(&worker->ring_io, &worker->ring);
    segment_journal_init(&worker->journal, worker->journal_memory, config->batch_bytes_max,
                         recovery->segment_bytes_max, catalog, &recovery->point,
                         &worker->ring_io.io, watermark, handoff);
    return 0;
}

void worker_fini(struct worker *worker)
{
    record_json_parser_destroy(worker->parser);
    if (worker->journal.fd >= 0)
        close(worker->journal.fd);
    worker->parser = NULL;
    worker->journal.fd = -1;
}

static int register_buffers(struct worker *worker, struct base_error *error)
{
    struct iovec memory = {worker->journal_memory, worker->journal_memory_bytes};
    int result = io_uring_register_buffers(&worker->ring, &memory, 1);
    if (result == -ENOMEM)
        return uring_explain_memlock("the batch buffers", error);
    if (result < 0)
        return base_error_os(error, result, "cannot register the batch buffers");
    worker->ring_io.registered_buffers = true;
    return 0;
}

int worker_open(struct worker *worker, struct base_error *error)
{
    int result = uring_create(&worker->ring, SQ_ENTRIES, CQ_ENTRIES, error);
    if (result < 0)
        return result;
    if (worker->config->registered_buffers)
        result = register_buffers(worker, error);
    if (result < 0) {
        io_uring_queue_exit(&worker->ring);
        return result;
    }
    /* Flushes run on a kernel helper thread: one at a time, on our core, where its wake is cheap.
     * Where the kernel does not take this, it works all the same. */
    unsigned helpers[2] = {2, 2};
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET((int)worker->core, &only);
    io_uring_register_iowq_max_workers(&worker->ring, helpers);
    io_uring_register_iowq_aff(&worker->ring, sizeof(only), &only);
    return 0;
}

void worker_close(struct worker *worker)
{
    io_uring_queue_exit(&worker->ring);
}

/* --- chains --------------------------------------------------------------------------------- */

static void chain_add(struct worker_chain *chain, struct ingress_request *request)
{
    request->next = NULL;
    if (chain->last == NULL)
        chain->first = request;
    else
        chain->last->next = request;
    chain->last = request;
}

static struct ingress_request *chain_take(struct worker_chain *chain)
{
    struct ingress_request *request = chain->first;
    if (request == NULL)
        return NULL;
    chain->first = request->next;
    if (chain->first == NULL)
        chain->last = NULL;
    return request;
}

/* The answer is known: back to where it came from, with this round's message. */
static void complete(struct worker *worker, struct ingress_request *request)
{
    chain_add(&worker->completed[request->ingress], request);
}

static void refuse(struct worker *worker, struct ingress_request *request,
                   enum base_problem_kind kind, const char *detail)
{
    request->answer = INGRESS_ANSWER_PROBLEM;
    base_problem_set(&request->problem, kind, "%s", detail);
    complete(worker, request);
}

static void refuse_chain(struct worker *worker, struct worker_chain *chain,
                         enum base_problem_kind kind, const char *detail)
{
    struct ingress_request *request;
    while ((request = chain_take(chain)) != NULL)
        refuse(worker, request, kind, detail);
}

static void send_chain(struct worker *worker, struct ingress_request *first)
{
    uint64_t pointer = (uint64_t)(uintptr_t)first;
    CHECK(uring_what_of(pointer) == URING_CHAIN);
    int ring_fd = worker->state->ingress_ring_fds[first->ingress];
    THREAD_RELEASE(first); /* C1 pairs with C2 in ingress.c: the message carries the chain */
    uring_message(&worker->ring, ring_fd, pointer, uring_tag(URING_CHAIN_FAILED, pointer));
}

static void send_completed(struct worker *worker)
{
    for (unsigned i = 0; i < worker->state->core_count; i++) {
        struct worker_chain *chain = &worker->completed[i];
        if (chain->first == NULL)
            continue;
        send_chain(worker, chain->first);
        chain->first = chain->last = NULL;
    }
}

/* --- parsing -------------------------------------------------------------------------------- */

/* Body's own id, else the Idempotency-Key, else one of ours; kept in the arena for the receipt. */
static void choose_identity(struct worker *worker, struct ingress_request *request,
                            const struct record_submission *submission,
                            struct record_envelope *envelope)
{
    if (submission->submission_id.data != NULL) {
        request->submission_id = submission->submission_id;
    } else if (request->key.data != NULL) {
        request->submission_id = request->key;
        envelope->flags |= SEGMENT_RECORD_ID_FROM_KEY;
    } else {
        char *id = record_arena_alloc(request->arena, BASE_UUID_TEXT_BYTES, 1);
        CHECK(id != NULL); /* the arena's sum has a term for it */
        base_random_uuid7(&worker->random, request->received_at_ns, id);
        request->submission_id = (struct record_text){id, BASE_UUID_TEXT_BYTES};
        envelope->flags |= SEGMENT_RECORD_ID_ASSIGNED;
    }
    envelope->submission_id = request->submission_id;
}

static void add_findings(const struct record_findings *findings, struct record_envelope *envelope)
{
    envelope->finding_count = findings->count;
    for (uint32_t i = 0; i < findings->count; i++)
        envelope->findings[i] = findings->list[i];
    envelope->registry_version = findings->version;
}

static void make_envelope(struct worker *worker, struct ingress_request *request,
                          const struct record_submission *submission,
                          struct record_envelope *envelope)
{
    *envelope = (struct record_envelope){
        .kind = SEGMENT_RECORD_SUBMISSION,
        .flags = submission->device_offset_known ? SEGMENT_RECORD_OFFSET_KNOWN : 0,
        .device_offset_minutes = submission->device_offset_minutes,
        .received_at_ns = request->received_at_ns,
        .device_time_ns = submission->device_time_ns,
        .study_id = submission->study_id,
        .center_id = submission->center_id,
        .patient_id = submission->patient_id,
        .instrument = submission->instrument,
        .form_version = submission->form_version,
        .visit = submission->visit,
        .timezone = submission->timezone,
        .amends = submission->amends,
        .reason = submission->reason,
        .body = request->body,
        .body_bytes = request->body_bytes,
    };
    choose_identity(worker, request, submission, envelope);
    add_findings(&request->findings, envelope);
    memcpy(envelope->trace_id, request->trace_id, sizeof(envelope->trace_id));
    base_sha256_of(request->body, request->body_bytes, request->sha256);
    memcpy(envelope->body_sha256, request->sha256, sizeof(envelope->body_sha256));
}

/* Complete validation, and what the credential may write. False: the request has its problem and is
 * complete. */
static bool parse(struct worker *worker, struct ingress_request *request,
                  struct record_envelope *envelope)
{
    struct record_json_document document;
    struct record_json_fault fault;
    struct record_submission *submission;
    if (record_json_parse(worker->parser, request->body, request->body_bytes, &document, &fault) <
        0) {
        record_submission_malformed(&fault, &request->problem);
    } else if (record_submission_parse(&document, request->body, request->body_bytes,
                                       request->arena, &submission, &request->problem) == 0) {
        struct record_text credential;
        if (ingress_authorize_submission(state_credentials(worker->state), submission, request,
                                         &credential)) {
            if (worker->registry != NULL)
                record_findings_check(worker->registry, submission, request->received_at_ns,
                                      request->arena, &request->findings);
            make_envelope(worker, request, submission, envelope);
            envelope->credential = credential;
            return true;
        }
    }
    request->answer = INGRESS_ANSWER_PROBLEM;
    complete(worker, request);
    return false;
}

/* --- the open batch ------------------------------------------------------------------------- */

static void append(struct worker *worker, struct ingress_request *request,
                   struct record_envelope *envelope)
{
    segment_journal_append(&worker->journal, envelope);
    request->journal = worker->journal.journal;
    request->sequence = envelope->sequence;
    chain_add(&worker->open, request);
}

/* The disk is full: what was appended is taken back and refused, surely not stored. */
static void give_up_open(struct worker *worker)
{
    static const char detail[] = "no room for another segment; nothing was stored, try again later";
    segment_journal_abandon(&worker->journal);
    refuse_chain(worker, &worker->open, BASE_PROBLEM_DISK_FULL, detail);
    if (worker->carry != NULL)
        refuse(worker, worker->carry, BASE_PROBLEM_DISK_FULL, detail);
    worker->carry = NULL;
}

/* Starts writing the open batch if nothing is being written. False: there is no segment for it. */
static bool start_batch(struct worker *worker, bool mark)
{
    struct segment_journal *journal = &worker->journal;
    if (segment_journal_is_busy(journal) || journal->state == SEGMENT_JOURNAL_FAILED)
        return true;
    uint64_t segment_before = journal->segment_number;
    enum segment_journal_start start = segment_journal_start(journal, mark);
    if (journal->segment_number !=
        segment_before) /* the next one is prepared before it is needed */
        state_call_control(worker->state);
    if (start == SEGMENT_JOURNAL_STARTED) {
        CHECK(worker->flying.first == NULL);
        worker->flying = worker->open;
        worker->open = (struct worker_chain){NULL, NULL};
    }
    if (start != SEGMENT_JOURNAL_BLOCKED)
        return true;
    if (load_acquire(&worker->handoff->shortage) != 0) {
        give_up_open(worker);
        return true;
    }
    /* H9 pairs with H10 in housekeeping.c, which rings when it has a segment or knows it won't */
    if (exchange_acq_rel(&worker->handoff->wanted, 1) == 0)
        state_call_control(worker->state);
    return false;
}

/* Takes one request as far as the open batch. False: it has to wait, and so has everything else. */
static bool take(struct worker *worker, struct ingress_request *request)
{
    struct record_envelope envelope;
    CHECK_OBJECT(request, INGRESS_REQUEST_MAGIC);
    if (worker->journal.state == SEGMENT_JOURNAL_FAILED) {
        refuse(worker, request, BASE_PROBLEM_JOURNAL_FAILED,
               "the journal failed and takes nothing more; nothing was acknowledged");
        return true;
    }
    if (!parse(worker, request, &envelope))
        return true;
    if (segment_journal_fits(&worker->journal, record_encode_bytes(&envelope))) {
        append(worker, request, &envelope);
        return true;
    }
    worker->carry = request;
    worker->carry_envelope = envelope;
    return false;
}

/* The carried request goes first. False: it still does not fit. */
static bool take_carried(struct worker *worker)
{
    struct ingress_request *request = worker->carry;
    if (request == NULL)
        return true;
    start_batch(worker, false);
    if (worker->carry == NULL) /* given up with the batch */
        return true;
    if (!segment_journal_fits(&worker->journal, record_encode_bytes(&worker->carry_envelope)))
        return false;
    worker->carry = NULL;
    append(worker, request, &worker->carry_envelope);
    return true;
}

/* Takes a run from `queue`; true when it got anything. */
static bool take_run(struct worker *worker, struct queue_mpmc *queue)
{
    bool any = false;
    worker->registry = state_registry(worker->state);
    for (uint64_t i = 0; i < worker->config->run_requests_max; i++) {
        if (!take_carried(worker))
            break;
        struct ingress_request *request = queue_mpmc_pop(queue);
        if (request == NULL)
            break;
        any = true;
        if (!take(worker, request))
            break;
    }
    return any;
}

/* An idle worker takes from the longest queue of its siblings. */
static bool steal(struct worker *worker)
{
    struct queue_mpmc *longest = NULL;
    unsigned depth = (unsigned)worker->config->steal_depth_min - 1;
    for (unsigned i = 0; i < worker->state->core_count; i++) {
        struct queue_mpmc *queue = &worker->state->queues[i];
        if (i == worker->index || queue_mpmc_depth(queue) <= depth)
            continue;
        longest = queue;
        depth = queue_mpmc_depth(queue);
    }
    return longest != NULL && take_run(worker, longest);
}

/* --- completions ---------------------------------------------------------------------------- */

static void report_failure(struct worker *worker)
{
    const struct segment_journal *journal = &worker->journal;
    if (worker->failure_reported)
        return;
    worker->failure_reported = true;
    add_relaxed(&worker->state->journals_failed, 1);
    base_log(BASE_LOG_ERROR, "journal-failed",
             "journal=%" PRIu32 " segment=%" PRIu64 " operation=%s error=\"%s\" durable=%" PRIu64
             " message=\"nothing more is acknowledged from this journal; check the disk, then "
             "restart: recovery keeps what is valid\"",
             journal->journal, journal->segment_number, journal->failed_operation,
             strerror(-journal->failure), journal->durable);
    state_call_control(worker->state);
}

/* The journal has failed: nobody who waits gets a receipt. */
static void end_journal(struct worker *worker)
{
    static const char detail[] =
        "the journal failed while this was being written; it was not acknowledged";
    refuse_chain(worker, &worker->flying, BASE_PROBLEM_JOURNAL_FAILED, detail);
    refuse_chain(worker, &worker->open, BASE_PROBLEM_JOURNAL_FAILED, detail);
    if (worker->carry != NULL)
        refuse(worker, worker->carry, BASE_PROBLEM_JOURNAL_FAILED, detail);
    worker->carry = NULL;
    report_failure(worker);
}

/* A segment of this journal could not be sealed or prepared because the disk failed. */
static void look_at_handoff(struct worker *worker)
{
    int failure = load_acquire(&worker->handoff->failure);
    if (failure == 0 || worker->journal.state != SEGMENT_JOURNAL_IDLE)
        return;
    segment_journal_poison(&worker->journal, -failure, "seal-or-prepare");
    end_journal(worker);
}

static void take_journal_completion(struct worker *worker, int result)
{
    struct ingress_request *request;
    switch (segment_journal_complete(&worker->journal, result)) {
    case SEGMENT_JOURNAL_CONTINUES:
        return;
    case SEGMENT_JOURNAL_DURABLE:
        while ((request = chain_take(&worker->flying)) != NULL) {
            request->answer = INGRESS_ANSWER_RECEIPT;
            complete(worker, request);
        }
        return;
    case SEGMENT_JOURNAL_BROKEN:
        end_journal(worker);
        return;
    }
}

static void take_completion(struct worker *worker, const struct io_uring_cqe *completion)
{
    uint64_t argument = uring_argument_of(completion->user_data);
    switch (uring_what_of(completion->user_data)) {
    case URING_WRITE:
    case URING_FLUSH:
        take_journal_completion(worker, segment_ring_io_result(&worker->ring_io, completion));
        return;
    case URING_BELL:
        return; /* that we are awake is all it says */
    case URING_CONTROL:
        worker->stopping = worker->stopping || argument == URING_CONTROL_STOP;
        return;
    case URING_CHAIN_FAILED: /* the ingress had no room for a completion: it will */
        send_chain(worker, (struct ingress_request *)(uintptr_t)argument);
        return;
    default:
        CHECK_NEVER("a completion that is not for a worker");
    }
}

static void take_completions(struct worker *worker)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&worker->ring, head, completion)
    {
        take_completion(worker, completion);
        count++;
    }
    io_uring_cq_advance(&worker->ring, count);
}

/* --- the loop ------------------------------------------------------------------------------- */

/* Nothing to write and nothing to take: sleep until the doorbell, or until a mark is due. */
static void rest(struct worker *worker)
{
    struct queue_doorbell *doorbell = &worker->state->doorbells[worker->index];
    uint64_t mark_ns = worker->config->mark_idle_ms * NANOSECONDS_PER_MILLISECOND;
    bool mark_owed = worker->journal.mark_owed && worker->journal.state == SEGMENT_JOURNAL_IDLE;
    queue_doorbell_fall_asleep(doorbell);
    if (queue_mpmc_depth(&worker->state->queues[worker->index]) > 0) {
        queue_doorbell_wake_up(doorbell);
        return;
    }
    uint64_t before_ns = base_clock_monotonic_ns();
    uring_wait(&worker->ring, mark_owed ? mark_ns : UINT64_MAX);
    queue_doorbell_wake_up(doorbell);
    bool rung = io_uring_cq_ready(&worker->ring) > 0;
    if (mark_owed && !rung && base_clock_monotonic_ns() - before_ns >= mark_ns)
        start_batch(worker, true);
}

void worker_run(struct worker *worker)
{
    CHECK_OBJECT(worker, WORKER_MAGIC);
    struct queue_mpmc *queue = &worker->state->queues[worker->index];
    for (;;) {
        state_pass(worker->state, state_reader_of_worker(worker->index));
        take_completions(worker);
        look_at_handoff(worker);
        bool any = take_run(worker, queue);
        bool has_segment = start_batch(worker, worker->stopping);
        bool busy = segment_journal_is_busy(&worker->journal);
        if (!any && !busy && worker->carry == NULL && worker->open.first == NULL)
            any = steal(worker); /* what it brought goes out in the next round */
        send_completed(worker);
        if (worker->stopping && !any && !busy && worker->open.first == NULL)
            break; /* a mark that is still owed then waits for a segment; recovery owes it again */
        if (busy || !has_segment) /* a completion, or a segment, will wake us */
            uring_wait(&worker->ring, UINT64_MAX);
        else if (any)
            io_uring_submit_and_get_events(&worker->ring);
        else
            rest(worker);
    }
    io_uring_submit(&worker->ring); /* messages of the last round */
    CHECK(worker->open.first == NULL && worker->flying.first == NULL && worker->carry == NULL);
}
