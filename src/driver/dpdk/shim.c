#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_vhost.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_net.h>
#include <rte_pause.h>
#include <rte_version.h>

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "flowgate needs DPDK 22.11 or later"
#endif

static ssize_t log_write(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	flowgate_dpdk_log((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

int fg_start(int argc, char **argv)
{
	/* The stream stays open as long as DPDK may write to it, that is always. */
	cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -errno;
	setvbuf(stream, NULL, _IOLBF, 4096);
	if (rte_openlog_stream(stream) != 0)
		return -EINVAL;
	if (rte_eal_init(argc, argv) < 0)
		return rte_errno != 0 ? -rte_errno : -EINVAL;
	return 0;
}

int fg_on_interrupt_thread(void (*call)(void *))
{
	return rte_eal_alarm_set(1, call, NULL);
}

int fg_register_thread(void)
{
	return rte_thread_register() == 0 ? 0 : -rte_errno;
}

void fg_unregister_thread(void)
{
	rte_thread_unregister();
}

int fg_attach(const char *devargs)
{
	struct rte_dev_iterator iterator;
	uint16_t port;
	int result = rte_dev_probe(devargs);
	if (result < 0)
		return result;
	RTE_ETH_FOREACH_MATCHING_DEV(port, devargs, &iterator) {
		rte_eth_iterator_cleanup(&iterator);
		return port;
	}
	return -ENODEV;
}

/* The driver of vhost is a library that EAL has opened for itself, so its functions have to be looked for. */
typedef int (*next_event)(uint16_t port, struct rte_eth_vhost_queue_event *event);
static next_event vhost_next_event;

/* By port: its enabled transmit queues. Written by the thread that serves vhost-user messages. */
static uint64_t enabled[RTE_MAX_ETHPORTS];

static int look_in_library(struct dl_phdr_info *info, size_t size, void *found)
{
	void *library;
	(void)size;
	if (strstr(info->dlpi_name, "/librte_net_vhost.so") == NULL)
		return 0;
	library = dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
	if (library != NULL)
		*(void **)found = dlsym(library, "rte_eth_vhost_get_queue_event");
	return 1;
}

static int queues_changed(uint16_t port, enum rte_eth_event_type type, void *argument, void *result)
{
	struct rte_eth_vhost_queue_event event;
	struct rte_eth_link link;
	uint64_t now = __atomic_load_n(&enabled[port], __ATOMIC_RELAXED);
	(void)argument;
	(void)result;
	memset(&link, 0, sizeof(link));
	/* A connection that ends takes all its queues along and says nothing of them. */
	if (type == RTE_ETH_EVENT_INTR_LSC && rte_eth_link_get_nowait(port, &link) == 0
	    && link.link_status != RTE_ETH_LINK_UP)
		now = 0;
	while (vhost_next_event(port, &event) == 0) {
		/* What the peer sends by is told as received. */
		if (event.rx || event.queue_id >= 64)
			continue;
		if (event.enable)
			now |= UINT64_C(1) << event.queue_id;
		else
			now &= ~(UINT64_C(1) << event.queue_id);
	}
	__atomic_store_n(&enabled[port], now, __ATOMIC_RELEASE);
	return 0;
}

uint64_t *fg_watch_queues(uint16_t port)
{
	if (vhost_next_event == NULL)
		dl_iterate_phdr(look_in_library, &vhost_next_event);
	if (vhost_next_event == NULL || port >= RTE_MAX_ETHPORTS)
		return NULL;
	__atomic_store_n(&enabled[port], 0, __ATOMIC_RELEASE);
	if (rte_eth_dev_callback_register(port, RTE_ETH_EVENT_QUEUE_STATE, queues_changed, NULL) != 0)
		return NULL;
	if (rte_eth_dev_callback_register(port, RTE_ETH_EVENT_INTR_LSC, queues_changed, NULL) != 0) {
		(void)rte_eth_dev_callback_unregister(port, RTE_ETH_EVENT_QUEUE_STATE, queues_changed, NULL);
		return NULL;
	}
	return &enabled[port];
}

/* Waits for a call that is under way. */
static void unwatch_queues(uint16_t port)
{
	static const enum rte_eth_event_type types[] = { RTE_ETH_EVENT_QUEUE_STATE, RTE_ETH_EVENT_INTR_LSC };
	for (unsigned int i = 0; i < RTE_DIM(types); i++)
		while (rte_eth_dev_callback_unregister(port, types[i], queues_changed, NULL) == -EAGAIN)
			rte_pause();
}

int fg_detach(uint16_t port)
{
	struct rte_eth_dev_info info;
	struct rte_device *device;
	int result = rte_eth_dev_info_get(port, &info);
	if (result != 0)
		return result;
	device = info.device;
	unwatch_queues(port);
	(void)rte_eth_dev_stop(port);
	(void)rte_eth_dev_close(port);
	return device != NULL ? rte_dev_remove(device) : 0;
}

int fg_ask(uint16_t port, struct fg_offer *offer)
{
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	int result = rte_eth_dev_info_get(port, &info);
	if (result != 0)
		return result;
	memset(offer, 0, sizeof(*offer));
	offer->rx_offloads = info.rx_offload_capa;
	offer->tx_offloads = info.tx_offload_capa;
	offer->rss_types = info.flow_type_rss_offloads;
	offer->max_rx_frame = info.max_rx_pktlen;
	offer->max_rx_queues = info.max_rx_queues;
	offer->max_tx_queues = info.max_tx_queues;
	offer->rx_ring_min = info.rx_desc_lim.nb_min;
	offer->rx_ring_max = info.rx_desc_lim.nb_max;
	offer->rx_ring_align = info.rx_desc_lim.nb_align;
	offer->tx_ring_min = info.tx_desc_lim.nb_min;
	offer->tx_ring_max = info.tx_desc_lim.nb_max;
	offer->tx_ring_align = info.tx_desc_lim.nb_align;
	offer->min_mtu = info.min_mtu;
	offer->max_mtu = info.max_mtu;
	offer->table_size = info.reta_size;
	offer->key_size = info.hash_key_size;
	offer->socket = (int16_t)rte_eth_dev_socket_id(port);
	(void)rte_eth_dev_get_mtu(port, &offer->mtu);
	if (rte_eth_macaddr_get(port, &mac) == 0)
		memcpy(offer->mac, mac.addr_bytes, sizeof(offer->mac));
	snprintf(offer->driver, sizeof(offer->driver), "%s", info.driver_name != NULL ? info.driver_name : "");
	return 0;
}

int fg_configure(uint16_t port, const struct fg_setup *setup)
{
	struct rte_eth_conf conf;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = setup->mtu;
	conf.rxmode.offloads = setup->rx_offloads;
	conf.txmode.offloads = setup->tx_offloads;
	if (setup->rss_types != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = setup->rss_types;
		conf.rx_adv_conf.rss_conf.rss_key = setup->key;
		conf.rx_adv_conf.rss_conf.rss_key_len = (uint8_t)setup->key_size;
	}
	return rte_eth_dev_configure(port, setup->rx_queues, setup->tx_queues, &conf);
}

int fg_setup_rx(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool)
{
	int socket = rte_eth_dev_socket_id(port);
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)socket, NULL, pool);
}

int fg_setup_tx(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	int socket = rte_eth_dev_socket_id(port);
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)socket, NULL);
}

int fg_adjust_rings(uint16_t port, uint16_t *rx, uint16_t *tx)
{
	return rte_eth_dev_adjust_nb_rx_tx_desc(port, rx, tx);
}

int fg_run(uint16_t port)
{
	return rte_eth_dev_start(port);
}

int fg_set_mtu(uint16_t port, uint16_t mtu)
{
	return rte_eth_dev_set_mtu(port, mtu);
}

int fg_set_mac(uint16_t port, const uint8_t mac[6])
{
	struct rte_ether_addr address;
	memcpy(address.addr_bytes, mac, sizeof(address.addr_bytes));
	return rte_eth_dev_default_mac_addr_set(port, &address);
}

int fg_set_promiscuous(uint16_t port)
{
	return rte_eth_promiscuous_enable(port);
}

int fg_set_allmulticast(uint16_t port)
{
	return rte_eth_allmulticast_enable(port);
}

#define MOST_GROUPS (RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE)

int fg_write_table(uint16_t port, const uint16_t *queues, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 groups[MOST_GROUPS];
	if (size > MOST_GROUPS * RTE_ETH_RETA_GROUP_SIZE)
		return -ENOTSUP;
	memset(groups, 0, sizeof(groups));
	for (unsigned int entry = 0; entry < size; entry++) {
		struct rte_eth_rss_reta_entry64 *group = &groups[entry / RTE_ETH_RETA_GROUP_SIZE];
		group->mask |= UINT64_C(1) << entry % RTE_ETH_RETA_GROUP_SIZE;
		group->reta[entry % RTE_ETH_RETA_GROUP_SIZE] = queues[entry];
	}
	return rte_eth_dev_rss_reta_update(port, groups, size);
}

int fg_read_table(uint16_t port, uint16_t *queues, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 groups[MOST_GROUPS];
	int result;
	if (size > MOST_GROUPS * RTE_ETH_RETA_GROUP_SIZE)
		return -ENOTSUP;
	memset(groups, 0, sizeof(groups));
	for (unsigned int entry = 0; entry < size; entry++)
		groups[entry / RTE_ETH_RETA_GROUP_SIZE].mask |= UINT64_C(1) << entry % RTE_ETH_RETA_GROUP_SIZE;
	result = rte_eth_dev_rss_reta_query(port, groups, size);
	for (unsigned int entry = 0; result == 0 && entry < size; entry++)
		queues[entry] = groups[entry / RTE_ETH_RETA_GROUP_SIZE].reta[entry % RTE_ETH_RETA_GROUP_SIZE];
	return result;
}

int fg_read_hash(uint16_t port, uint8_t *key, uint16_t key_size, uint64_t *types)
{
	struct rte_eth_rss_conf conf;
	int result;
	memset(&conf, 0, sizeof(conf));
	conf.rss_key = key;
	conf.rss_key_len = (uint8_t)key_size;
	result = rte_eth_dev_rss_hash_conf_get(port, &conf);
	*types = conf.rss_hf;
	return result;
}

int fg_read_link(uint16_t port, struct fg_link *out)
{
	struct rte_eth_link link;
	int result;
	memset(&link, 0, sizeof(link));
	result = rte_eth_link_get_nowait(port, &link);
	out->up = link.link_status == RTE_ETH_LINK_UP;
	out->mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	return result;
}

int fg_read_counts(uint16_t port, struct fg_counts *counts)
{
	struct rte_eth_stats stats;
	int result;
	memset(&stats, 0, sizeof(stats));
	result = rte_eth_stats_get(port, &stats);
	counts->missed = stats.imissed;
	counts->nobuf = stats.rx_nombuf;
	counts->rx_errors = stats.ierrors;
	counts->tx_errors = stats.oerrors;
	return result;
}

/* A pool whose objects lie one behind the other over the borders of pages, which addresses that are virtual for devices
 * too allow; NULL where it cannot be had. DPDK keeps to the borders, and on small pages that puts all objects at the same
 * offset of a page each: the heads of all would share the few ways of one set of the first cache. */
static struct rte_mempool *make_dense_pool(const char *name, unsigned int buffers, unsigned int cache,
	uint16_t private_size, uint16_t room, int socket)
{
	struct rte_pktmbuf_pool_private sizes = { .mbuf_data_room_size = room, .mbuf_priv_size = private_size };
	const struct rte_memzone *zone = NULL;
	struct rte_mempool *pool;
	char zone_name[RTE_MEMZONE_NAMESIZE];
	size_t each;
	pool = rte_mempool_create_empty(name, buffers, sizeof(struct rte_mbuf) + private_size + room, cache, sizeof(sizes),
		socket, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	if (pool == NULL)
		return NULL;
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) != 0)
		goto failed;
	rte_pktmbuf_pool_init(pool, &sizes);
	each = (size_t)pool->header_size + pool->elt_size + pool->trailer_size;
	snprintf(zone_name, sizeof(zone_name), "%s objects", name);
	zone = rte_memzone_reserve_aligned(zone_name, each * buffers, socket, 0, RTE_MEMPOOL_ALIGN);
	if (zone == NULL || rte_mempool_populate_iova(pool, zone->addr, zone->iova, zone->len, NULL, NULL) != (int)buffers)
		goto failed;
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
failed:
	rte_mempool_free(pool);
	if (zone != NULL)
		(void)rte_memzone_free(zone);
	return NULL;
}

struct rte_mempool *fg_make_pool(const char *name, unsigned int buffers, unsigned int cache, uint16_t private_size,
	uint16_t room, int socket)
{
	struct rte_mempool *pool = NULL;
	if (!rte_eal_has_hugepages() && rte_eal_iova_mode() == RTE_IOVA_VA)
		pool = make_dense_pool(name, buffers, cache, private_size, room, socket);
	return pool != NULL ? pool : rte_pktmbuf_pool_create(name, buffers, cache, private_size, room, socket);
}

unsigned int fg_pool_available(const struct rte_mempool *pool)
{
	return rte_mempool_avail_count(pool);
}

int fg_pool_get(struct rte_mempool *pool, void **objects, unsigned int count)
{
	return rte_mempool_get_bulk(pool, objects, count);
}

void fg_pool_put(struct rte_mempool *pool, void *const *objects, unsigned int count)
{
	rte_mempool_put_bulk(pool, objects, count);
}

int fg_socket_of(unsigned int cpu)
{
	char path[64];
	/* The NUMA node stands in the name of a link beside the CPU. */
	for (int node = 0; node < RTE_MAX_NUMA_NODES; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/node%d", cpu, node);
		FILE *there = fopen(path, "r");
		if (there != NULL) {
			fclose(there);
			return node;
		}
	}
	return SOCKET_ID_ANY;
}

uint16_t fg_receive(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t fg_transmit(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

uint32_t fg_copy_out(const struct rte_mbuf *chain, void *to, uint32_t room)
{
	uint32_t length = chain->pkt_len;
	const void *octets;
	if (length > room)
		return 0;
	octets = rte_pktmbuf_read(chain, 0, length, to);
	if (octets == NULL)
		return 0;
	if (octets != to)
		memcpy(to, octets, length);
	return length;
}

void fg_free(struct rte_mbuf *chain)
{
	rte_pktmbuf_free(chain);
}

uint32_t fg_find_checksum(const struct rte_mbuf *frame, uint16_t *start, uint16_t *field)
{
	struct rte_net_hdr_lens lengths;
	uint32_t types;
	memset(&lengths, 0, sizeof(lengths));
	types = rte_net_get_ptype(frame, &lengths, RTE_PTYPE_ALL_MASK);
	*start = (uint16_t)(lengths.l2_len + lengths.l3_len);
	switch (types & RTE_PTYPE_L4_MASK) {
	case RTE_PTYPE_L4_TCP:
		*field = 16;
		return 1;
	case RTE_PTYPE_L4_UDP:
		*field = 6;
		return 1;
	default:
		return 0;
	}
}
