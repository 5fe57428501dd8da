/* What capsule calls of DPDK, and functions of DPDK's that are inline, under the names capsule has for them. */
#define _GNU_SOURCE /* for cpu_set_t, which DPDK looks for */
#include <numa.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

int _rte_errno(void);
struct rte_mbuf *_rte_pktmbuf_alloc(struct rte_mempool *pool);
void _rte_pktmbuf_free(struct rte_mbuf *mbuf);
int _rte_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void _rte_mempool_put_bulk(struct rte_mempool *pool, void *const *objects, unsigned int count);
uint16_t _rte_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t _rte_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* rte_eal_init(), which no longer knows two options by the names capsule gives them. */
int cffi_eal_init(int argc, char **argv);

/* Constants that DPDK calls otherwise since 21.11. */
static const uint64_t CFFI_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t CFFI_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t CFFI_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t CFFI_RSS_SCTP = RTE_ETH_RSS_SCTP;
static const uint64_t CFFI_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
