/* What flowgate asks of DPDK, in types that are the same in every release from 22.11 on: DPDK's own change their
 * layout, and its inline functions and 64-bit constants cannot be named from Rust. */
#ifndef FLOWGATE_DPDK_SHIM_H
#define FLOWGATE_DPDK_SHIM_H

#include <rte_ethdev.h>
#include <rte_mbuf_core.h>
#include <rte_mbuf_ptype.h>
#include <stddef.h>
#include <stdint.h>

/* Flags of rte_mbuf.ol_flags. */
static const uint64_t FG_RX_L4_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t FG_RX_L4_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t FG_RX_L4_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE;
static const uint64_t FG_RX_IP_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t FG_RX_IP_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t FG_RX_OUTER_IP_BAD = RTE_MBUF_F_RX_OUTER_IP_CKSUM_BAD;
static const uint64_t FG_FOREIGN_MEMORY = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
static const uint64_t FG_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t FG_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t FG_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t FG_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;
/* Of rte_mbuf.packet_type: where it is, and the bits by which a device says that it looked into a tunnel. */
static const uint64_t FG_PACKET_TYPE = offsetof(struct rte_mbuf, packet_type);
static const uint64_t FG_TUNNEL = RTE_PTYPE_TUNNEL_MASK;

/* Called with each finished line of DPDK's log. `level` as in rte_log.h, 1 (emergency) to 8 (debug). */
void flowgate_dpdk_log(uint32_t level, const char *text, size_t length);

/* 0, or a negative errno. Sends DPDK's log to flowgate_dpdk_log, then rte_eal_init. */
int fg_start(int argc, char **argv);
/* Runs `call` once on the thread that serves DPDK's interrupts. */
int fg_on_interrupt_thread(void (*call)(void *));

/* Makes the calling thread known, so that it has caches of its own in the mempools. */
int fg_register_thread(void);
void fg_unregister_thread(void);

/* Attaches a device by its devargs string; gives the number of its first port, or a negative errno. */
int fg_attach(const char *devargs);
/* Stops and closes the port and detaches its device. */
int fg_detach(uint16_t port);

/* What a port offers. */
struct fg_offer {
	uint64_t rx_offloads, tx_offloads, rss_types;
	uint32_t max_rx_frame;
	uint16_t max_rx_queues, max_tx_queues;
	uint16_t rx_ring_min, rx_ring_max, tx_ring_min, tx_ring_max;
	uint16_t rx_ring_align, tx_ring_align;
	uint16_t min_mtu, max_mtu, mtu;
	uint16_t table_size;
	uint16_t key_size;
	int16_t socket;
	uint8_t mac[6];
	char driver[32];
};
int fg_ask(uint16_t port, struct fg_offer *offer);

/* Offloads and packet types, as in rte_ethdev.h. */
static const uint64_t FG_RX_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t FG_RX_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t FG_RX_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t FG_TX_OFFLOAD_UDP = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t FG_TX_OFFLOAD_TCP = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t FG_TX_OFFLOAD_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t FG_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t FG_RSS_ADDRESSES4 = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t FG_RSS_ADDRESSES6 = RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
static const uint64_t FG_RSS_TCP4 = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t FG_RSS_UDP4 = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t FG_RSS_TCP6 = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint64_t FG_RSS_UDP6 = RTE_ETH_RSS_NONFRAG_IPV6_UDP;

/* How a port is to be configured. */
struct fg_setup {
	uint64_t rx_offloads, tx_offloads, rss_types;
	uint8_t *key;
	uint16_t key_size;
	uint16_t rx_queues, tx_queues, mtu;
};
int fg_configure(uint16_t port, const struct fg_setup *setup);
int fg_setup_rx(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool);
int fg_setup_tx(uint16_t port, uint16_t queue, uint16_t descriptors);
/* Changes *rx and *tx to what the device takes. */
int fg_adjust_rings(uint16_t port, uint16_t *rx, uint16_t *tx);
int fg_run(uint16_t port);
int fg_set_mtu(uint16_t port, uint16_t mtu);
int fg_set_mac(uint16_t port, const uint8_t mac[6]);
int fg_set_promiscuous(uint16_t port);
int fg_set_allmulticast(uint16_t port);
/* The table that maps hash values to queues, and the hash's key, as the device has them now. */
int fg_write_table(uint16_t port, const uint16_t *queues, uint16_t size);
int fg_read_table(uint16_t port, uint16_t *queues, uint16_t size);
int fg_read_hash(uint16_t port, uint8_t *key, uint16_t key_size, uint64_t *types);

struct fg_link {
	uint32_t mbps; /* 0 for unknown */
	uint8_t up;
};
int fg_read_link(uint16_t port, struct fg_link *link);

struct fg_counts {
	uint64_t missed, nobuf, rx_errors, tx_errors;
};
int fg_read_counts(uint16_t port, struct fg_counts *counts);

struct rte_mempool *fg_make_pool(const char *name, unsigned int buffers, unsigned int cache, uint16_t private_size,
	uint16_t room, int socket);
unsigned int fg_pool_available(const struct rte_mempool *pool);
/* All or none. */
int fg_pool_get(struct rte_mempool *pool, void **objects, unsigned int count);
void fg_pool_put(struct rte_mempool *pool, void *const *objects, unsigned int count);
/* NUMA node of a CPU; -1 when it is not known. */
int fg_socket_of(unsigned int cpu);

/* Follows which transmit queues the vhost-user peer of this port has enabled, a bit each; before the port is configured.
 * Gives where that stands from now on, or NULL when the driver does not tell. */
uint64_t *fg_watch_queues(uint16_t port);

uint16_t fg_receive(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t fg_transmit(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
/* Copies the octets of a chain; gives how many, or 0 when `room` is too small. */
uint32_t fg_copy_out(const struct rte_mbuf *chain, void *to, uint32_t room);
void fg_free(struct rte_mbuf *chain);
/* Where the transport begins, and the offset of its checksum in it; 0 when there is neither TCP nor UDP. */
uint32_t fg_find_checksum(const struct rte_mbuf *frame, uint16_t *start, uint16_t *field);

#endif
