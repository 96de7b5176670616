//! Values that clients and backends bring, as the numbers by which sessions are told apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Seed of every value's hash. It must never change: nodes agree by it without a word.
const SEED: u64 = 0x6f73_746c_6572_0002;

/// The hash that stands for a value, the same on every node; none of an empty value.
pub fn value_hash(value: &[u8]) -> Option<u64> {
    (!value.is_empty()).then(|| xxhash_rust::xxh3::xxh3_64_with_seed(value, SEED))
}

/// The hash of an address's first so many bits. An IPv4 address in IPv6 form counts as IPv4.
pub fn prefix_hash(address: IpAddr, ipv4: u8, ipv6: u8) -> u64 {
    let prefix = match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(ipv4.into())).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(ipv6.into())).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
        }
    };
    let hash = |octets: &[u8]| xxhash_rust::xxh3::xxh3_64_with_seed(octets, SEED);
    match prefix {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    }
}

/// The value of the first pair of this name in a query, byte for byte as it came.
pub fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then_some(value.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_hash_in_every_version() {
        // Never change this figure: nodes of different versions must agree.
        assert_eq!(value_hash(b"alice"), Some(0x1452_ac08_2a5b_e43c));
        assert_eq!(value_hash(b""), None);
    }

    #[test]
    fn addresses_of_one_prefix_are_one() {
        let of = |text: &str| prefix_hash(text.parse().unwrap(), 24, 64);
        assert_eq!(of("10.0.5.1"), of("10.0.5.200"));
        assert_ne!(of("10.0.5.1"), of("10.0.6.1"));
        assert_eq!(of("::ffff:10.0.5.1"), of("10.0.5.9"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(prefix_hash("10.0.5.1".parse().unwrap(), 32, 128), of("10.0.5.1"));
    }

    #[test]
    fn a_query_is_read_by_names_as_a_whole() {
        assert_eq!(query_value("a=1&sid=x%20y&sid=2", "sid"), Some(&b"x%20y"[..]));
        assert_eq!(query_value("xsid=1&sid", "sid"), None);
        assert_eq!(query_value("", "sid"), None);
    }
}
