//! Questions to what runs on the host, asked as its clients ask them.

pub mod http;
