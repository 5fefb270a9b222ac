"""HTTPS polling links of both roles, on h11."""
