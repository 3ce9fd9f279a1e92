// OpenSSL, with the macros that Swift cannot see as functions. HTTP/TLS*.swift, Store/SHA256.swift and Client/Digest.swift use it.
#include <arpa/inet.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// Chooses HTTP/1.1 among the protocols that a client offers; one that offers others alone is refused (RFC 7301 §3.2).
static inline int copenssl_choose_http11(
    SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *in, unsigned int length,
    void *unused) {
  (void)ssl;
  (void)unused;
  for (unsigned int i = 0; i < length; i += 1u + in[i]) {
    if (in[i] == 8 && length - i > 8 && memcmp(in + i + 1, "http/1.1", 8) == 0) {
      *out = in + i + 1;
      *out_length = 8;
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// A server's settings: TLS 1.2 with forward secrecy and authenticated ciphers, or 1.3; no renegotiation, and no resumption,
// so that a replaced certificate is what every new connection sees and no ticket key is kept.
static inline SSL_CTX *copenssl_server_context(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (!context) return NULL;
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_mode(
      context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  // The end of a request is known by its framing, so an end of the connection without TLS's own is no attack.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_alpn_select_cb(context, copenssl_choose_http11, NULL);
  return context;
}

// Appends a certificate to the chain, which owns it from then on; 1 on success.
static inline long copenssl_add_to_chain(SSL_CTX *context, X509 *certificate) {
  return SSL_CTX_add_extra_chain_cert(context, certificate);
}

// Refuses to ask anybody for the passphrase of a key.
static inline int copenssl_no_passphrase(char *buffer, int size, int writing, void *unused) {
  (void)buffer;
  (void)size;
  (void)writing;
  (void)unused;
  return -1;
}

static inline int copenssl_reason(unsigned long error) { return ERR_GET_REASON(error); }

// Writes the name of a host (DNS name or address) at `index` of a certificate's alternative names, ended by a zero.
// Returns 1, 0 if that one is of another kind or too long, -1 past the end.
static inline int copenssl_host_name(X509 *certificate, int index, char *text, int size) {
  GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  if (!names) return -1;
  int result = -1;
  if (index < sk_GENERAL_NAME_num(names)) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    result = 0;
    if (name->type == GEN_DNS) {
      const int length = ASN1_STRING_length(name->d.dNSName);
      const unsigned char *bytes = ASN1_STRING_get0_data(name->d.dNSName);
      if (length > 0 && length < size && !memchr(bytes, 0, (size_t)length)) {
        memcpy(text, bytes, (size_t)length);
        text[length] = 0;
        result = 1;
      }
    } else if (name->type == GEN_IPADD) {
      const int length = ASN1_STRING_length(name->d.iPAddress);
      const int family = length == 4 ? AF_INET : AF_INET6;
      if ((length == 4 || length == 16) && inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, (socklen_t)size))
        result = 1;
    }
  }
  GENERAL_NAMES_free(names);
  return result;
}
