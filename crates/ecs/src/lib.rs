//! ECS action shapes, error codes, signing, JSON and XML rendering.
