#include "shim.h"

#include <string.h>

int _rte_errno(void) { return rte_errno; }

struct rte_mbuf *_rte_pktmbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

void _rte_pktmbuf_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }

int _rte_pktmbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
    return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

void _rte_mempool_put_bulk(struct rte_mempool *pool, void *const *objects, unsigned int count)
{
    rte_mempool_put_bulk(pool, objects, count);
}

uint16_t _rte_eth_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
    return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t _rte_eth_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
    return rte_eth_tx_burst(port, queue, mbufs, count);
}

int cffi_eal_init(int argc, char **argv)
{
    static const char *const renamed[][2] = {
        { "--master-lcore", "--main-lcore" },
        { "--pci-whitelist", "--allow" },
    };
    for (int i = 1; i < argc; i++)
        for (unsigned int j = 0; j < sizeof renamed / sizeof *renamed; j++)
            if (!strcmp(argv[i], renamed[j][0]))
                argv[i] = (char *)(uintptr_t)renamed[j][1];
    return rte_eal_init(argc, argv);
}
