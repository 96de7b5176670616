//! Sets of networks whose word is believed.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks that are believed; none by default.
#[derive(Debug, Clone, Default)]
pub struct TrustSet(Box<[IpNet]>);

impl TrustSet {
    /// A set of these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether the address is in one of them. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let set = TrustSet::new(&["10.0.0.0/8".parse().unwrap()]);
        assert!(set.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!set.contains("11.0.0.1".parse().unwrap()));
        assert!(!TrustSet::default().contains("127.0.0.1".parse().unwrap()));
    }
}
