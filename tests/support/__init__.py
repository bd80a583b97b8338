"""What the tests share: real services, deployments that can be broken, and makers of data."""
