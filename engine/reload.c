#include "reload.h"

#include "base/check.h"
#include "base/log.h"

void reload_init(struct reload *reload, struct reload_reader *readers, unsigned reader_count)
{
    *reload = (struct reload){.readers = readers, .reader_count = reader_count};
}

static void publish(struct reload_object *object, void *loaded)
{
    CHECK(object->retired == NULL);
    object->retired = object->published;
    object->published = loaded;
    store_release(&object->slot->current, loaded); /* L1 pairs with L2 */
}

int reload_add(struct reload *reload, const struct reload_kind *kind, struct reload_slot *slot,
               struct base_error *error)
{
    void *loaded = NULL;
    int result = kind->load(kind->context, &loaded, error);
    if (result < 0)
        return result;
    CHECK(reload->object_count < RELOAD_OBJECTS_MAX);
    struct reload_object *object = &reload->objects[reload->object_count++];
    *object = (struct reload_object){.kind = *kind, .slot = slot};
    publish(object, loaded);
    return 0;
}

/* True when a new object took the place of the old one. */
static bool load_anew(struct reload_object *object)
{
    struct base_error error;
    void *loaded = NULL;
    if (object->kind.load(object->kind.context, &loaded, &error) < 0) {
        base_log(BASE_LOG_ERROR, "reload-failed",
                 "object=%s error=\"%s\" message=\"the old one stays in force\"", object->kind.name,
                 error.text);
        return false;
    }
    publish(object, loaded);
    return true;
}

bool reload_begin(struct reload *reload)
{
    if (reload->under_way) {
        reload->again = true;
        return false;
    }
    if (reload->object_count == 0)
        base_log(BASE_LOG_INFO, "reload", "message=\"there is nothing to reload\"");
    for (unsigned i = 0; i < reload->object_count; i++)
        reload->under_way = load_anew(&reload->objects[i]) || reload->under_way;
    if (reload->under_way) /* L3 pairs with L4 */
        store_release(&reload->generation, load_relaxed(&reload->generation) + 1);
    return reload->under_way;
}

static bool all_have_passed(const struct reload *reload)
{
    uint64_t generation = load_relaxed(&reload->generation); /* ours */
    for (unsigned i = 0; i < reload->reader_count; i++)
        if (load_acquire(&reload->readers[i].passed) != generation) /* L6 pairs with L5 */
            return false;
    return true;
}

static void destroy_retired(struct reload *reload)
{
    for (unsigned i = 0; i < reload->object_count; i++) {
        struct reload_object *object = &reload->objects[i];
        if (object->retired == NULL)
            continue;
        object->kind.destroy(object->retired);
        object->retired = NULL;
        base_log(BASE_LOG_INFO, "reloaded", "object=%s message=\"in force on every thread\"",
                 object->kind.name);
    }
}

bool reload_step(struct reload *reload)
{
    if (!reload->under_way || !all_have_passed(reload))
        return false;
    destroy_retired(reload);
    reload->under_way = false;
    if (!reload->again)
        return false;
    reload->again = false;
    return reload_begin(reload);
}

void reload_fini(struct reload *reload)
{
    for (unsigned i = 0; i < reload->object_count; i++) {
        struct reload_object *object = &reload->objects[i];
        object->kind.destroy(object->retired);
        object->retired = NULL;
        store_relaxed(&object->slot->current, NULL);
        object->kind.destroy(object->published);
        object->published = NULL;
    }
    reload->object_count = 0;
}
