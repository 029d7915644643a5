import pylibmc
from outcomes import HOST, PORT, outcome

client = pylibmc.Client([f"{HOST}:{PORT}"], binary=True)
outcome("set", client.set, "k", "one")
outcome("get", client.get, "k")
