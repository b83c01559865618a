/* reason.h: why something was refused, in one list for HTTP errors, audit lines, events and metrics.
 *
 * The words are the contract (protocol.md of the existing clients for the first eight); the numbers
 * are not, and cross no process boundary but ours. Zero is REASON_NONE: "no reason recorded yet",
 * never "allowed".
 */
#ifndef REASON_H
#define REASON_H

#include <stddef.h>

#define REASONS(X)                                                                                 \
	X(NONE, "none")                                                                            \
	X(NON_HTTPS, "non_https_blocked")		/* a credential over plaintext */              \
	X(EMPTY_ALLOWLIST, "empty_allowlist")                                                      \
	X(DOMAIN, "domain_not_in_allowlist")                                                       \
	X(POLICY, "policy_denied")			/* host listed; port, method or path not */    \
	X(APPROVAL_REQUIRED, "policy_approval_required")                                           \
	X(APPROVAL_DENIED, "policy_approval_denied")                                               \
	X(SSRF, "ssrf_protection_blocked")		/* private, loopback, metadata, … address */   \
	X(CAPABILITY, "capability_denied")                                                         \
	X(NO_RECORD, "connection_not_identified")	/* the kernel has no record of it */           \
	X(BAD_REQUEST, "bad_request")			/* syntax, framing, limits */                  \
	X(SNI_MISSING, "sni_missing")                                                              \
	X(SNI_HOST, "sni_host_mismatch")		/* SNI, Host, CONNECT target differ */         \
	X(NOT_HTTP, "protocol_not_allowed")		/* neither TLS nor HTTP, and no `tcp` rule */  \
	X(SECRET_UNKNOWN, "secret_unknown")		/* the workspace has none of that name */      \
	X(SECRET_HOST, "secret_not_for_host")                                                      \
	X(SECRET_SLOT, "secret_slot_not_allowed")                                                  \
	X(SECRET_PATH, "secret_not_for_path")		/* its own methods or paths */                 \
	X(SIGNATURE, "signature_not_renewable")		/* AWS or HMAC: what it covers is not there */ \
	X(CLOCK, "clock_skew")				/* of a signature, or it has expired */        \
	X(TOKEN_REFUSED, "token_refused")		/* by the authorization server */	       \
	X(TOKEN, "token_unavailable")			/* it does not answer, or nonsense */	       \
	X(INJECT_CLASH, "injection_conflict")		/* two rules, one place */                     \
	X(FOREIGN_CREDENTIAL, "foreign_credential_blocked")                                        \
	X(SECRET_VALUE, "secret_value_in_request")	/* the value itself, not a reference */        \
	X(WORKSPACE_GONE, "workspace_missing")		/* deleted or its document does not verify */  \
	X(LIMIT, "limit_reached")			/* connections, leaves, headers … of a guard */ \
	X(BODY, "body_too_large")			/* to be looked into */                        \
	X(UPSTREAM_NAME, "upstream_name_not_found")                                                \
	X(UPSTREAM_CONNECT, "upstream_unreachable")                                                \
	X(UPSTREAM_PROXY, "upstream_proxy_credentials")	/* refused or missing: upstream.proxy of the configuration */ \
	X(UPSTREAM_TLS, "upstream_certificate_invalid")                                            \
	X(UPSTREAM_BAD, "upstream_bad_response")                                                   \
	X(UPSTREAM_TIMEOUT, "upstream_timeout")                                                    \
	X(UPSTREAM_CLOSED, "upstream_closed")                                                      \
	X(CLIENT_CLOSED, "client_closed")                                                          \
	X(CLIENT_TLS, "client_tls_failed")		/* most often: it does not trust our CA */     \
	X(VAULT, "vault_unavailable")                                                              \
	X(VAULT_LOCKED, "vault_locked")			/* its passphrase is not given yet */          \
	X(KEYRING_LOCKED, "keyring_locked")		/* of the workspace's owner */                 \
	X(KEYRING_AWAY, "keyring_unavailable")		/* its helper does not run */                  \
	X(COMMAND, "secret_command_failed")		/* that yields the value */                    \
	X(INTERNAL, "internal_error")                                                              \
	/* the kernel's, EG_REASON_* of egress.h */                                                \
	X(UDP, "udp_blocked")                                                                      \
	X(FAMILY, "address_family_blocked")                                                        \
	X(SOCKET, "socket_type_blocked")                                                           \
	X(WALL, "packet_blocked")                                                                  \
	X(INBOUND, "inbound_blocked")                                                              \
	X(SOCKOPT, "socket_option_blocked")                                                        \
	X(BIND, "bind_blocked")                                                                    \
	X(CLOSED, "guard_closed")                                                                  \
	X(PENDING, "too_many_pending_connections")                                                 \
	X(UNIX, "unix_socket_blocked")                                                             \
	X(FOREIGN, "foreign_socket_blocked")                                                       \
	X(TRACE, "tracing_blocked")                                                                \
	X(BPF, "bpf_blocked")                                                                      \
	X(CGROUP, "cgroup_write_blocked")

enum reason {
#define X(name, word) REASON_##name,
	REASONS(X)
#undef X
		REASON_COUNT
};

/* The word of a reason; "internal_error" for a number that is none. */
const char *reason_word(enum reason r);

/* The reason and, for address classes, a word for which ("metadata"), of an EG_REASON_*. */
enum reason reason_of_kernel(unsigned int eg, const char **ret_class);

/* Writes the sentence a client reads into buf and returns it: what was refused and the command that
 * would allow it. host may be NULL. Never quotes anything but the host, which must be a checked name. */
const char *reason_sentence(enum reason r, const char *host, char *buf, size_t len);

#endif
