// Streams of one instruction set, beside kernels.cpp.
#include "stream.h"

#define ATROUS_JOIN_(a, b) a##b
#define ATROUS_JOIN(a, b) ATROUS_JOIN_(a, b)

namespace atrous {

int ATROUS_JOIN(stream_run_, ATROUS_NAME)(const atrous_stream_program *program, const atrous_stream_turn *turns,
                                          const int64_t *grown, const atrous_stream_port *ports) {
    return run_stream(program, turns, grown, ports);
}

}  // namespace atrous
