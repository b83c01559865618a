/* adopted.bpf.c: the programs of egress.bpf.c for sockets that existed before their process was guarded.
 *
 * Hooks follow the cgroup in which a socket was born, so these stand there, where others live too: each program looks
 * for the socket's mark (set through a duplicated descriptor, inherited by what it accepts) and lets pass what has
 * none. The mark names the guard, whose state is in `wards`; from there on it is the same code, over the same maps.
 * For its own sockets a guard needs none of this.
 */
#define EG_ADOPT
#include "egress.bpf.c"
