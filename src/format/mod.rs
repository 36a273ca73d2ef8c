//! File formats that several parts read or write, each in one place. What is here knows a format's bytes and their limits, not what
//! they mean to a net: that is for who reads or writes them. Nothing here panics or allocates beyond a few times a file's size,
//! whatever the file holds; an error says what is wrong, and the caller where.

pub mod npy;
pub mod protobuf;
pub mod safetensors;
