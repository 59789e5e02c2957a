//! HTTP: ECS actions, health; authentication.
