// rewrite: passes over a trace - clone it, then insert, replace and remove nodes of the copy; who reads what is at hand.
//
//   hs_graph *g;        HS_TRY(hs_graph_clone(&g, trace));           // the trace stays what the model function said
//   hs_rewrite *r;      HS_TRY(hs_rewrite_begin(&r, g));
//   for (hs_node *n = hs_rewrite_first(r); n; n = hs_rewrite_next(r, n))
//       if (n->op == gelu)
//           hs_rewrite_replace(r, n, my_op, &attr, n->in, 1);
//   HS_TRY(hs_rewrite_end(r));
//
// Each call costs the same whatever the length of the graph (replacing what is read costs its readers). Errors are the graph's, as while
// tracing: the first one stays, with the scope of the node at hand, and hs_rewrite_end raises it.
// What is kept: scopes, and sites - so dropout's masks - of all nodes that stay. An inserted node has the scope of the one it was put
// beside and a site of its own, which depends on that node alone. Ids are positions; hs_node.trace still says which node of the trace it
// was.
#ifndef HS_CORE_REWRITE_H
#define HS_CORE_REWRITE_H
#include "core/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

// A copy with nodes, tensors, attributes and scopes of its own, over the same parameters and states. Fails with g's own first error.
hs_status hs_graph_clone(hs_graph **out, const hs_graph *g);

typedef struct hs_rewrite hs_rewrite;
hs_status hs_rewrite_begin(hs_rewrite **out, hs_graph *g); // nothing else may change g until hs_rewrite_end
hs_status hs_rewrite_end(hs_rewrite *r);                   // node order and ids of g are right again, and r is gone; also where it fails

// In the order of execution, as it now is. A node may be removed once its successor is known.
hs_node *hs_rewrite_first(const hs_rewrite *r);
hs_node *hs_rewrite_next(const hs_rewrite *r, const hs_node *n);

// A new node in front of `at`. Inputs, shapes and attributes are checked as hs_emit does. NULL: the graph has failed.
hs_node *hs_rewrite_before(hs_rewrite *r, const hs_node *at, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in);
// A new node of one input on the edge into `reader`: only that operand then reads its result.
hs_node *hs_rewrite_edge(hs_rewrite *r, hs_node *reader, int operand, const hs_op *op, const void *attr);
// A new node instead of n: whoever read n's results, and the graph's outputs, reads those of the same number. n is gone. Another number of
// results is an error where one that is missing was read.
hs_node *hs_rewrite_replace(hs_rewrite *r, hs_node *n, const hs_op *op, const void *attr, hs_tensor *const *in, int n_in);
void hs_rewrite_remove(hs_rewrite *r, hs_node *n); // nothing may read its results any more

void hs_rewrite_operand(hs_rewrite *r, hs_node *n, int operand, hs_tensor *t);            // n reads t there; NULL: nothing
void hs_rewrite_readers(hs_rewrite *r, const hs_tensor *of, hs_tensor *instead);          // everything that read `of`, outputs too
int hs_rewrite_n_readers(const hs_rewrite *r, const hs_tensor *t);                        // operands that read it, and outputs
hs_node *hs_rewrite_reader(const hs_rewrite *r, const hs_tensor *t, int i, int *operand); // the i-th that is a node; NULL: no more

// A node outside the order, for a run that a plan adds beside `near`: its scope and types; operands are the caller's to fill in.
// NULL: no memory, and the graph has failed.
hs_node *hs_node_beside(hs_graph *g, const hs_node *near, const hs_op *op, const void *attr);

#ifdef __cplusplus
}
#endif
#endif
