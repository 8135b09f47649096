/* What the parts of the loader share: registry_load.c goes through files and documents,
 * registry_instrument.c and registry_study.c take one document each.
 *
 * Owner: record_registry_build, on its stack; one thread.
 */
#ifndef SLUICE_RECORD_REGISTRY_LOAD_H
#define SLUICE_RECORD_REGISTRY_LOAD_H

#include "record/registry.h"
#include "record/registry_block.h"
#include "record/yaml.h"

/* Where something was defined, to be named when it is defined again. */
struct registry_place {
    const char *path;
    unsigned line;
};

struct registry_load {
    struct record_yaml yaml; /* the file at hand */
    struct registry_block block;
    struct record_registry *registry;
    struct record_registry_study *studies;          /* room for RECORD_REGISTRY_STUDIES_MAX */
    struct record_registry_instrument *instruments; /* ... and for _INSTRUMENTS_MAX */
    struct record_registry_table instrument_table;
    struct registry_place study_places[RECORD_REGISTRY_STUDIES_MAX];
    struct registry_place instrument_places[RECORD_REGISTRY_INSTRUMENTS_MAX];
    char digest[RECORD_REGISTRY_DIGEST_DIGITS];
    struct base_error *error;
};

/* Take the document whose root is `root`. */
int registry_load_instrument(struct registry_load *load, const yaml_node_t *root);
int registry_load_study(struct registry_load *load, const yaml_node_t *root);

/* A text of at most `bytes_max` bytes, kept in the block. */
int registry_load_text(struct registry_load *load, const yaml_node_t *node, const char *what,
                       size_t bytes_max, struct record_text *text_out);

/* "NAME has ID twice": entry `index` of the list `list` repeats entry `first`. */
int registry_load_twice(struct registry_load *load, const yaml_node_t *list, size_t index,
                        size_t first, const char *what, struct record_text id);

/* How much of an id a message repeats. */
#define REGISTRY_SHOWN(id) (int)((id).bytes < 48 ? (id).bytes : 48), (id).data

#endif
